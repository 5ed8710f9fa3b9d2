"""Where each tensor of a published checkpoint belongs in `GlammModel`.

Published checkpoints use LLaVA's names for the language model and SAM's original names, behind the prefix that the
model's description says, for the grounding encoder; CLIP directories use Hugging Face's names while open_clip keeps
OpenAI's, with query, key and value stacked in one matrix.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from litelvlm.models.description import ModelDescription


class Placement(NamedTuple):
    """Where a tensor goes.

    Attributes:
        name: parameter of `GlammModel`.
        third: which third of the parameter's rows it fills (0, 1, 2 for query, key, value), or None for all.
        transposed: whether it is stored transposed.
    """

    name: str
    third: int | None = None
    transposed: bool = False


_UNUSED = re.compile(
    r"lm_head\."  # nothing is generated; see `with_lm_head`
    r"|.*rotary_emb\.inv_freq$"
    r"|(model\.)?vision_tower\."  # the CLIP towers come from their own checkpoint
)
_UNUSED_SAM = re.compile(
    r"(pixel_mean|pixel_std)$|prompt_encoder\.(point_embeddings|not_a_point_embed|mask_downscaling)\."
)
_SAM = "grounding_encoder."
LM_HEAD = "lm_head.weight"  # in every layout
IGNORED_CLIP = re.compile(r"(text_model|vision_model)\.embeddings\.position_ids$")

_LLAVA_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^model\.(embed_tokens\.|layers\.|norm\.)", r"llm.\1"),
        (r"^model\.mm_projector\.", "projector."),
        (r"^model\.text_hidden_fcs\.0\.", "text_hidden_fcs."),
    )
)
_SAM_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (
            r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$",
            "positional_embedding.positional_embedding",
        ),
        (r"prompt_encoder\.no_mask_embed\.", "no_mask_embed."),
        (r"image_encoder\.patch_embed\.proj\.", "image_encoder.patch_embed.projection."),
        (r"image_encoder\.blocks\.(\d+)\.norm(\d)\.", r"image_encoder.layers.\1.layer_norm\2."),
        (r"image_encoder\.blocks\.", "image_encoder.layers."),
        (r"image_encoder\.neck\.0\.", "image_encoder.neck.conv1."),
        (r"image_encoder\.neck\.1\.", "image_encoder.neck.layer_norm1."),
        (r"image_encoder\.neck\.2\.", "image_encoder.neck.conv2."),
        (r"image_encoder\.neck\.3\.", "image_encoder.neck.layer_norm2."),
        (r"mask_decoder\.transformer\.layers\.(\d+)\.norm(\d)\.", r"mask_decoder.transformer.layers.\1.layer_norm\2."),
        (r"mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
        (r"mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
        (r"mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
        (r"mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
        (r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.0\.", r"\1.proj_in."),
        (r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.1\.", r"\1.layers.0."),
        (r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.2\.", r"\1.proj_out."),
    )
)
_CLIP_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
        (r"^vision_model\.embeddings\.patch_embedding\.weight$", "visual.conv1.weight"),
        (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
        (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),
        (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
        (r"^text_model\.embeddings\.token_embedding\.weight$", "token_embedding.weight"),
        (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
        (r"^text_model\.final_layer_norm\.", "ln_final."),
        (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
        (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
        (r"\.layer_norm(\d)\.", r".ln_\1."),
        (r"\.mlp\.fc1\.", ".mlp.c_fc."),
        (r"\.mlp\.fc2\.", ".mlp.c_proj."),
        (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    )
)
_CLIP_QKV = re.compile(r"\.self_attn\.([qkv])_proj\.(weight|bias)$")
_CLIP_PROJECTIONS = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}


def place_published(description: ModelDescription) -> Callable[[str], Placement | None]:
    """Where tensors of a model's published checkpoints go: a function that yields None for those not needed."""
    return partial(_place_published, description)


def _place_published(description: ModelDescription, name: str) -> Placement | None:
    if _UNUSED.match(name) or name.startswith(description.unused_weights):
        return None
    if not name.startswith(description.sam_prefix):
        return Placement(_rewrite(name, _LLAVA_RULES))
    name = name.removeprefix(description.sam_prefix)
    return None if _UNUSED_SAM.match(name) else Placement(_SAM + _rewrite(name, _SAM_RULES))


def place_clip(name: str) -> Placement | None:
    """Where a tensor of a Hugging Face CLIP directory goes; None if it is not needed."""
    if IGNORED_CLIP.match(name):
        return None
    if name in _CLIP_PROJECTIONS:
        return Placement(f"clip.clip.{_CLIP_PROJECTIONS[name]}", transposed=True)
    target = _rewrite(name, _CLIP_RULES)
    stacked = _CLIP_QKV.search(target)
    if stacked:
        target = f"{target[: stacked.start()]}.attn.in_proj_{stacked[2]}"
        return Placement(f"clip.clip.{target}", third="qkv".index(stacked[1]))
    return Placement(f"clip.clip.{target}")


def place_open_clip(name: str) -> Placement | None:
    """Where a tensor of an open_clip state dict goes; None if it is not needed."""
    return None if name == "attn_mask" else Placement(f"clip.clip.{name}")


def place_converted(name: str) -> Placement | None:
    """A converted checkpoint already uses `GlammModel`'s names; `lm_head` as in `place_published`."""
    return None if name == LM_HEAD else Placement(name)


def with_lm_head(place: Callable[[str], Placement | None]) -> Callable[[str], Placement | None]:
    """The same rules, by which `lm_head` has its place."""
    return lambda name: Placement(LM_HEAD) if name == LM_HEAD else place(name)


def _rewrite(name: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, replacement in rules:
        name = pattern.sub(replacement, name)
    return name
