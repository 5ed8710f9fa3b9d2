"""LISA's checkpoints in the forms that there are of them, and those of others that claim to be one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from litelvlm import AnnotationRequest, AnnotationResult, Annotator
from litelvlm.checkpoint import open_checkpoint
from litelvlm.config import ClipSizes, GlammConfig, SamSizes
from litelvlm.convert import convert_checkpoint
from litelvlm.flops import projector_flop
from litelvlm.glamm import GlammModel
from litelvlm.loading import CheckpointError, check_checkpoint, check_shapes
from litelvlm.models.lisa import LISA
from litelvlm.weight_files import iter_shapes
from litelvlm.weight_names import place_clip, place_published
from tests.litelvlm.checkpoint_copies import edit_config, read_state, save_sharded, save_single
from tests.litelvlm.published_layout import clip_shapes, lisa_shapes
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY
from tests.parity.lisa_fixtures import LISA_CLIP_TINY, LISA_TINY

#: As `xinlai/LISA-7B-v1` has it, without a `sam` block and with [SEG] behind three tokens of its base.
PUBLISHED = {
    "architectures": ["LISAForCausalLM"], "model_type": "llava", "vocab_size": 32004, "hidden_size": 4096,
    "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6, "mm_hidden_size": 1024, "out_dim": 256, "train_mask_decoder": True, "use_cache": False,
    "mm_vision_tower": "openai/clip-vit-large-patch14", "vision_tower": "openai/clip-vit-large-patch14",
}  # fmt: skip


@pytest.fixture
def lisa_copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(LISA_TINY, tmp_path / "lisa"))


def _asked(directory: Path, clip: Path | None = LISA_CLIP_TINY) -> AnnotationResult:
    """A small image of noise: on it, another state read shows."""
    image = np.random.default_rng(5).integers(0, 255, (31, 77, 3), dtype=np.uint8)
    annotator = Annotator.from_pretrained(directory, clip=clip)
    return annotator.annotate([AnnotationRequest(image=image, phrases=["The dog"])])[0]


def test_full_size_fills_the_model_completely(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED))
    (tmp_path / "model.safetensors").touch()
    checkpoint = open_checkpoint(tmp_path)
    assert (checkpoint.openai_clip, checkpoint.config.num_visual_tokens) == ("ViT-L-14", 256)
    config = checkpoint.config
    assert (config.description, config.sam) == (LISA, SamSizes())
    with torch.device("meta"):
        model = GlammModel(config)
    assert 7.5e9 < sum(param.numel() for param in model.parameters()) < 7.8e9
    offered = lisa_shapes(config.llm, config.sam, config.clip)
    offered |= {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": (64,) for i in range(32)}
    placed = [(name, place_published(LISA)(name), shape) for name, shape in offered.items()]
    placed += [(name, place_clip(name), shape) for name, shape in clip_shapes(config.clip).items()]
    check_shapes(model, placed, "full size")
    assert projector_flop(config) == 2 * 256 * 1024 * 4096


def test_the_layout_written_down_is_the_recorded_one() -> None:
    config = open_checkpoint(LISA_TINY, LISA_CLIP_TINY).config
    recorded = dict(iter_shapes([LISA_TINY / "pytorch_model.bin"]))
    expected = lisa_shapes(config.llm, config.sam, config.clip)
    assert {name: shape for name, shape in recorded.items() if "inv_freq" not in name} == expected


@pytest.mark.parametrize(
    ("named", "architecture", "tokens"),
    [
        ("openai/clip-vit-large-patch14-336", "ViT-L-14-336", 576),
        ("/data/clip-vit-large-patch14/", "ViT-L-14", 256),
        ("clip-tiny", "ViT-L-14", 256),
        (None, "ViT-L-14", 256),
    ],
)
def test_the_clip_is_the_one_that_the_configuration_names_or_the_models_own(
    lisa_copy: Path, named: str | None, architecture: str, tokens: int
) -> None:
    edit_config(lisa_copy, mm_vision_tower=named, vision_tower=named, mm_hidden_size=1024)
    checkpoint = open_checkpoint(lisa_copy)
    assert (checkpoint.openai_clip, checkpoint.config.num_visual_tokens) == (architecture, tokens)


@pytest.mark.slow
def test_256_visual_tokens_other_ids_shards_and_bfloat16_make_no_difference(lisa_copy: Path, tmp_path: Path) -> None:
    """The same weights under other ids, in two files of bfloat16, with a CLIP of 224 pixels."""
    clip = Path(shutil.copytree(LISA_CLIP_TINY, tmp_path / "clip"))
    values = json.loads((clip / "config.json").read_text())
    values["vision_config"]["image_size"] = 224
    (clip / "config.json").write_text(json.dumps(values))
    towers = read_state(clip)
    position = "vision_model.embeddings.position_embedding.weight"
    drawn = torch.randn(257, towers[position].shape[1], generator=torch.Generator().manual_seed(0)) / 10
    torch.save(towers | {position: drawn}, clip / "pytorch_model.bin")
    state = {name: tensor.bfloat16() for name, tensor in read_state(lisa_copy).items()}
    torch.save(state, lisa_copy / "pytorch_model.bin")
    first = _asked(lisa_copy, clip)
    assert first.num_visual_tokens == 256
    order = [*range(700), 701, 702, 702, 700]  # <im_start> 700, <im_end> 701, <im_patch> 702, [SEG] 703
    (lisa_copy / "added_tokens.json").unlink()
    tokens = ["<im_start>", "<im_end>", "<im_patch>", "[SEG]"]
    (lisa_copy / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": tokens}))
    edit_config(lisa_copy, vocab_size=704)
    moved = {name: state[name][order] for name in ("model.embed_tokens.weight", "lm_head.weight")}
    save_sharded(lisa_copy, state | moved, "bin")
    second = _asked(lisa_copy, clip)
    np.testing.assert_array_equal(first.low_res_logits, second.low_res_logits)
    np.testing.assert_array_equal(first.masks, second.masks)


@pytest.mark.slow
def test_converted_it_is_still_lisa_and_gives_the_same(lisa_copy: Path, tmp_path: Path) -> None:
    (lisa_copy / "added_tokens.json").rename(tmp_path / "kept.json")
    ids = json.loads((tmp_path / "kept.json").read_text())
    decoder = {str(value): {"content": token} for token, value in ids.items()}
    (lisa_copy / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder}))
    output = convert_checkpoint(lisa_copy, tmp_path / "converted", clip=LISA_CLIP_TINY, dtype=torch.float32)
    assert json.loads((output / "config.json").read_text())["format"] == "litelvlm-lisa-1"
    assert open_checkpoint(output).config == open_checkpoint(lisa_copy, LISA_CLIP_TINY).config
    first, second = _asked(lisa_copy), _asked(output, None)
    np.testing.assert_array_equal(first.low_res_logits, second.low_res_logits)


def test_weights_of_another_family_are_refused_by_name(lisa_copy: Path, tmp_path: Path) -> None:
    shutil.copyfile(GLAMM_TINY / "pytorch_model.bin", lisa_copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"these are names of GLaMM, and it is taken for LISA$") as caught:
        check_checkpoint(open_checkpoint(lisa_copy, LISA_CLIP_TINY))
    assert "\n" not in str(caught.value)
    glamm = Path(shutil.copytree(GLAMM_TINY, tmp_path / "glamm"))
    save_single(glamm, read_state(LISA_TINY))
    with pytest.raises(CheckpointError, match="these are names of GSVA or LISA"):
        check_checkpoint(open_checkpoint(glamm, CLIP_TINY))


def test_a_configuration_survives_being_written_down() -> None:
    config = GlammConfig(description=LISA, clip=ClipSizes(image_size=224))
    assert GlammConfig.from_dict(json.loads(json.dumps(config.to_dict())), LISA) == config
    assert GlammConfig.from_dict(config.to_dict()) != config
