"""Where tensors of every layout go: the recorded checkpoint, the published one at full size, open_clip's."""

from __future__ import annotations

import open_clip
import pytest
import torch

from litelvlm.checkpoint import clip_sizes, open_checkpoint
from litelvlm.config import ClipSizes, GlammConfig
from litelvlm.glamm import GlammModel
from litelvlm.loading import CheckpointError, check_shapes
from litelvlm.models.glamm import GLAMM
from litelvlm.weight_files import iter_shapes
from litelvlm.weight_names import Placement, place_clip, place_converted, place_open_clip, place_published
from tests.litelvlm.published_layout import clip_shapes, glamm_shapes
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY

PUBLISHED_CONFIG = {
    "vocab_size": 32007, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
    "mm_hidden_size": 1024, "architectures": ["GLaMMForCausalLM"], "model_type": "llava", "out_dim": 256,
}  # fmt: skip

place_glamm = place_published(GLAMM)


def test_layout_rules_equal_the_recorded_checkpoints() -> None:
    checkpoint = open_checkpoint(GLAMM_TINY, CLIP_TINY)
    recorded = dict(iter_shapes([GLAMM_TINY / "pytorch_model.bin"]))
    unused = {name for name in recorded if "region_encoder" in name or "inv_freq" in name}
    expected = glamm_shapes(checkpoint.config.llm, checkpoint.config.sam, checkpoint.config.clip)
    assert {name: shape for name, shape in recorded.items() if name not in unused} == expected
    assert dict(iter_shapes([CLIP_TINY / "pytorch_model.bin"])) == clip_shapes(clip_sizes(CLIP_TINY))


def test_full_size_published_layout_maps_completely() -> None:
    config = GlammConfig.from_published(PUBLISHED_CONFIG, ClipSizes())
    with torch.device("meta"):
        model = GlammModel(config)
    assert 7.6e9 < sum(param.numel() for param in model.parameters()) < 7.9e9
    offered = glamm_shapes(config.llm, config.sam, config.clip)
    offered |= {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": (64,) for i in range(32)}
    offered |= {"model.region_encoder.mlvl_fuse.input_conv.0.weight": (1024, 1026, 1, 1)}
    placed = [(name, place_glamm(name), shape) for name, shape in offered.items()]
    placed += [(name, place_clip(name), shape) for name, shape in clip_shapes(config.clip).items()]
    check_shapes(model, placed, "full size")
    dropped = [entry for entry in placed if entry[0] != "model.norm.weight"]
    with pytest.raises(CheckpointError, match=r"1 missing \(llm\.norm\.weight\)"):
        check_shapes(model, dropped, "full size")


def test_open_clip_names_map_completely() -> None:
    config = GlammConfig.from_published(PUBLISHED_CONFIG, ClipSizes())
    with torch.device("meta"):
        model = GlammModel(config)
        towers = open_clip.model.CLIP(**open_clip.get_model_config("ViT-L-14-336"), quick_gelu=True)
    placed = [(n, place_glamm(n), s) for n, s in glamm_shapes(config.llm, config.sam, config.clip).items()]
    placed += [(n, place_open_clip(n), tuple(t.shape)) for n, t in towers.state_dict().items()]
    check_shapes(model, placed, "open_clip")
    dropped = [entry for entry in placed if entry[0] != "visual.proj"]
    with pytest.raises(CheckpointError, match=r"1 missing \(clip\.clip\.visual\.proj\)"):
        check_shapes(model, dropped, "open_clip")


@pytest.mark.parametrize(
    "name",
    [
        "lm_head.weight",
        "model.layers.3.self_attn.rotary_emb.inv_freq",
        "model.vision_tower.vision_tower.vision_model.post_layernorm.bias",
        "model.region_encoder.mlvl_fuse.input_conv.0.weight",
        "model.grounding_encoder.pixel_mean",
        "model.grounding_encoder.prompt_encoder.point_embeddings.0.weight",
    ],
)
def test_what_annotation_does_not_use_has_no_place(name: str) -> None:
    assert place_glamm(name) is None


def test_query_key_and_value_share_a_matrix_and_projections_are_turned() -> None:
    layer = "vision_model.encoder.layers.7.self_attn"
    stacked = "clip.clip.visual.transformer.resblocks.7.attn.in_proj_weight"
    assert [place_clip(f"{layer}.{one}_proj.weight") for one in "qkv"] == [Placement(stacked, n) for n in range(3)]
    assert place_clip("text_projection.weight") == Placement("clip.clip.text_projection", transposed=True)
    assert place_clip("text_model.embeddings.position_ids") is None


def test_the_last_layer_of_a_small_head_is_not_taken_for_its_second() -> None:
    head = "grounding_encoder.mask_decoder.iou_prediction_head"
    places = [place_glamm(f"model.{head}.layers.{index}.bias") for index in range(3)]
    assert places == [Placement(f"{head}.{name}.bias") for name in ("proj_in", "layers.0", "proj_out")]


def test_a_converted_checkpoint_has_the_models_own_names() -> None:
    assert place_converted("model.norm.weight") == Placement("model.norm.weight")
    assert place_open_clip("attn_mask") is None
