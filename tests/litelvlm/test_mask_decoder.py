"""The mask decoder of the engine is SAM's."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from litelvlm import Annotator
from litelvlm.grounding_encoder import GroundingEncoder
from litelvlm.mask_decoder import PhraseMaskDecoder
from tests.litelvlm.test_grounding_encoder import SIZES

IMAGES = [1, 0, 0, 2, 1]  # of each phrase


def drawn(grounding: GroundingEncoder, images: int, phrases: int) -> tuple[Tensor, Tensor]:
    """Embeddings BxCxGxG and prompts PxC."""
    generator, sizes = torch.Generator().manual_seed(images), grounding.sizes
    embeddings = torch.randn(images, sizes.output_channels, sizes.grid_size, sizes.grid_size, generator=generator)
    return embeddings, torch.randn(phrases, sizes.output_channels, generator=generator)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("grid", [3, 4])
@torch.inference_mode()
def test_it_gives_what_sams_decoder_gives(heads: int, grid: int) -> None:
    torch.manual_seed(heads)
    sizes = dataclasses.replace(SIZES, mask_decoder_num_attention_heads=heads, image_size=8 * grid)
    grounding = GroundingEncoder(sizes).eval().requires_grad_(False)
    for name, parameter in grounding.mask_decoder.named_parameters():
        if name.endswith("bias") or "norm" in name:  # as trained ones, not 0 and 1
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    embeddings, prompts = drawn(grounding, 3, len(IMAGES))
    logits, iou = PhraseMaskDecoder(grounding)(embeddings, IMAGES, prompts)
    expected, expected_iou = grounding.decode_masks(embeddings[IMAGES], prompts)
    assert expected.std() > 0.01
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(iou, expected_iou, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_phrase_is_decoded_alone_as_among_others(demo_annotator: Annotator) -> None:
    grounding = demo_annotator.model.grounding_encoder
    decode = PhraseMaskDecoder(grounding)
    embeddings, prompts = drawn(grounding, 3, len(IMAGES))
    embeddings *= 0.2
    before = embeddings.clone()
    together, _ = decode(embeddings, IMAGES, prompts)
    for row, image in enumerate(IMAGES):
        alone, _ = decode(embeddings[image : image + 1], [0], prompts[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-4)
    assert torch.equal(embeddings, before)


@torch.inference_mode()
def test_masks_are_float32_from_embeddings_of_half_the_precision(demo_annotator: Annotator) -> None:
    grounding = demo_annotator.model.grounding_encoder
    embeddings, prompts = drawn(grounding, 1, 1)
    logits, iou = PhraseMaskDecoder(grounding)(embeddings.to(torch.bfloat16), [0], prompts.to(torch.bfloat16))
    expected, _ = grounding.decode_masks(embeddings.to(torch.bfloat16), prompts.to(torch.bfloat16))
    assert (logits.dtype, iou.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-3)
