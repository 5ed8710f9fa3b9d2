"""Relative positions in the heads, or as one bias, change nothing but the rounding."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.models.sam.configuration_sam import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder

from litelvlm.folded_sam import BiasedSamEncoder, FoldedSamEncoder


def random_encoder(*, grid: int, window: int) -> SamVisionEncoder:
    """Small, with random weights everywhere, biases and relative positions included."""
    torch.manual_seed(grid * 100 + window)
    config = SamVisionConfig(
        hidden_size=24,
        output_channels=16,
        num_hidden_layers=3,
        num_attention_heads=3,
        image_size=grid * 4,
        patch_size=4,
        window_size=window,
        global_attn_indexes=[1],
        num_pos_feats=8,
        mlp_dim=32,
    )
    encoder = SamVisionEncoder(config).eval()
    for param in encoder.parameters():
        nn.init.normal_(param, std=0.3)
    return encoder


@pytest.mark.parametrize(("grid", "window"), [(8, 4), (8, 3), (7, 5), (6, 6), (5, 7)], ids=lambda value: str(value))
@pytest.mark.parametrize("kind", [FoldedSamEncoder, BiasedSamEncoder])
@torch.inference_mode()
def test_it_equals_the_plain_encoder(kind: type[FoldedSamEncoder], grid: int, window: int) -> None:
    encoder = random_encoder(grid=grid, window=window).double()
    pixels = torch.randn(2, 3, grid * 4, grid * 4, dtype=torch.float64)
    expected = encoder(pixels).last_hidden_state
    folded = kind(encoder)
    torch.testing.assert_close(folded(pixels), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(folded(pixels[1:]), expected[1:], rtol=1e-6, atol=1e-6)
