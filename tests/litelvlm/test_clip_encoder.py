"""The CLIP towers, stage by stage, against open_clip's own forward pass."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from litelvlm import Annotator
from litelvlm.clip_encoder import ClipEncoder, run_block
from litelvlm.config import ClipSizes

SIZES = ClipSizes(
    image_size=32, patch_size=8, vision_width=32, vision_layers=3, vision_heads=4, vision_mlp_dim=64, embed_dim=16,
    text_width=24, text_layers=2, text_heads=2, text_mlp_dim=48, vocab_size=60, context_length=9,
)  # fmt: skip


@pytest.fixture(scope="module")
def encoder() -> ClipEncoder:
    torch.manual_seed(0)
    made = ClipEncoder(SIZES).eval().requires_grad_(False)
    for block in made.clip.visual.transformer.resblocks:
        block.attn.in_proj_bias.normal_()  # zero at first, so that a forgotten one would not show
    return made


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_features_are_what_the_last_block_reads(encoder: ClipEncoder, pixels: torch.Tensor) -> None:
    """open_clip's own blocks run to the end from what is handed on, and give its own image embedding."""
    features = encoder.encode_images(pixels)
    visual = encoder.clip.visual
    assert features.patches.shape == (2, 16, 32)
    assert features.last_input is not None
    assert features.previous_input is not None
    last = visual.transformer.resblocks[-1](features.last_input)
    torch.testing.assert_close(visual.ln_post(last[:, 0]) @ visual.proj, encoder.clip.encode_image(pixels))
    assert torch.equal(features.last_input[:, 1:], features.patches)
    torch.testing.assert_close(visual.transformer.resblocks[-2](features.previous_input), features.last_input)


def test_patches_are_embedded_as_open_clip_embeds_an_image(encoder: ClipEncoder, pixels: torch.Tensor) -> None:
    features = encoder.encode_images(pixels)
    visual = encoder.clip.visual
    expected = F.layer_norm(features.patches, (32,), visual.ln_post.weight, visual.ln_post.bias) @ visual.proj
    torch.testing.assert_close(features.embedded, expected)
    assert (features.embedded.dtype, features.context.dtype) == (torch.float32, torch.float32)


def test_attention_is_that_of_torchs_own_layer(encoder: ClipEncoder, pixels: torch.Tensor) -> None:
    features = encoder.encode_images(pixels)
    block = encoder.clip.visual.transformer.resblocks[-2]
    assert features.previous_input is not None
    normed = block.ln_1(features.previous_input)
    _, weights = block.attn(normed, normed, normed, need_weights=True)
    attention, keys = encoder.attention_cues(features.previous_input)
    torch.testing.assert_close(attention, weights[:, 0, 1:])
    by_head = F.linear(normed[:, 1:], block.attn.in_proj_weight[32:64], block.attn.in_proj_bias[32:64])
    torch.testing.assert_close(keys, sum(by_head[..., 8 * head : 8 * head + 8] for head in range(4)) / 4)


def test_context_and_last_cues_are_of_the_last_layer_at_full_width(encoder: ClipEncoder, pixels: torch.Tensor) -> None:
    features = encoder.encode_images(pixels)
    block = encoder.clip.visual.transformer.resblocks[-1]
    assert features.last_input is not None
    stacked = F.linear(block.ln_1(features.last_input), block.attn.in_proj_weight, block.attn.in_proj_bias)
    query, key, value = stacked[:, 0, :32], stacked[..., 32:64], stacked[..., 64:]
    attention, keys = encoder.last_cues(features.last_input)
    torch.testing.assert_close(keys, key[:, 1:])
    torch.testing.assert_close(attention, ((key @ query[:, :, None])[..., 0] / 32**0.5).softmax(-1)[:, 1:])
    cosine = F.cosine_similarity(key[:, 1:], query[:, None], dim=-1)
    torch.testing.assert_close(features.context, (cosine / 32**0.5).softmax(-1) * value[:, 1:].norm(dim=-1))


def test_texts_are_embedded_as_open_clip_does_in_either_precision(encoder: ClipEncoder) -> None:
    tokens = torch.zeros(2, 9, dtype=torch.int64)
    tokens[0, :4], tokens[1, :6] = torch.tensor([57, 3, 4, 59]), torch.tensor([57, 9, 8, 7, 6, 59])
    expected = encoder.clip.encode_text(tokens)
    torch.testing.assert_close(encoder.encode_texts(tokens), expected)
    half = ClipEncoder(SIZES).to(torch.bfloat16).eval()
    half.load_state_dict(encoder.state_dict())
    half.restore_buffers(torch.device("cpu"))  # a mask in float32 beside weights in bfloat16
    found = half.encode_texts(tokens)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.1)


def test_the_mask_that_no_checkpoint_holds_is_rebuilt(encoder: ClipEncoder) -> None:
    with torch.device("meta"):
        empty = ClipEncoder(SIZES)
    assert empty.clip.attn_mask.is_meta
    empty.restore_buffers(torch.device("cpu"))
    assert torch.equal(empty.clip.attn_mask, encoder.clip.attn_mask)


@torch.inference_mode()
def test_a_block_is_open_clips_own(demo_annotator: Annotator) -> None:
    transformer = demo_annotator.model.clip.clip.visual.transformer
    hidden = torch.randn(2, 7, demo_annotator.config.clip.vision_width)
    for block in transformer.resblocks:
        torch.testing.assert_close(run_block(block, hidden), block(hidden), rtol=1e-4, atol=1e-4)
