"""CLIP towers as a Hugging Face CLIP directory, which `--clip` takes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from litelvlm.clip_encoder import ClipEncoder

_NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "logit_scale": "logit_scale",
}
_TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
        (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
        (r"^ln_final\.", "text_model.final_layer_norm."),
        (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
        (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
        (r"\.ln_(\d)\.", r".layer_norm\1."),
        (r"\.mlp\.c_fc\.", ".mlp.fc1."),
        (r"\.mlp\.c_proj\.", ".mlp.fc2."),
        (r"\.attn\.", ".self_attn."),
    )
)


def write_clip_directory(encoder: ClipEncoder, merges: Path, output: Path) -> Path:
    """Writes `config.json`, `model.safetensors` and `merges.txt`, in place of what is there.

    Args:
        encoder: the towers.
        merges: their tokeniser's, in Hugging Face's form.
        output: the directory.
    """
    output.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().contiguous() for name, value in _state(encoder)}
    save_file(state, output / "model.safetensors", metadata={"format": "pt"})
    (output / "config.json").write_text(json.dumps(_config(encoder), indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(merges, output / "merges.txt")
    return output


def _state(encoder: ClipEncoder) -> Iterator[tuple[str, Tensor]]:
    for name, value in encoder.clip.named_parameters():
        if name in _TRANSPOSED:
            yield _TRANSPOSED[name], value.T
        elif name in _NAMES:
            yield _NAMES[name], value
        else:
            target = name
            for pattern, replacement in _RULES:
                target = pattern.sub(replacement, target)
            stem, stacked, kind = target.partition("in_proj_")
            if not stacked:
                yield target, value
                continue
            for part, third in zip("qkv", value.chunk(3), strict=True):
                yield f"{stem}{part}_proj.{kind}", third


def _config(encoder: ClipEncoder) -> dict[str, object]:
    sizes = encoder.sizes
    activation = "quick_gelu" if sizes.quick_gelu else "gelu"
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": sizes.embed_dim,
        "vision_config": {
            "image_size": sizes.image_size,
            "patch_size": sizes.patch_size,
            "hidden_size": sizes.vision_width,
            "num_hidden_layers": sizes.vision_layers,
            "num_attention_heads": sizes.vision_heads,
            "intermediate_size": sizes.vision_mlp_dim,
            "hidden_act": activation,
        },
        "text_config": {
            "hidden_size": sizes.text_width,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.text_heads,
            "intermediate_size": sizes.text_mlp_dim,
            "vocab_size": sizes.vocab_size,
            "max_position_embeddings": sizes.context_length,
            "hidden_act": activation,
        },
    }
