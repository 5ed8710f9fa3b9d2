"""FlexAttention with positions added to the logits changes nothing but the rounding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from benchmarks.flex_sam import FlexSamEncoder, FusedFlexSamEncoder, flex_positions
from litelvlm.compiled_sam import CompiledSamEncoder
from litelvlm.folded_sam import FoldedSamEncoder
from tests.litelvlm.test_folded_sam import random_encoder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile"),
]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[Any]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(("grid", "window"), [(8, 4), (8, 3), (7, 5), (6, 6), (5, 7)], ids=lambda value: str(value))
@torch.inference_mode()
def test_it_equals_the_plain_encoder(grid: int, window: int) -> None:
    encoder = random_encoder(grid=grid, window=window).double()
    pixels = torch.randn(2, 3, grid * 4, grid * 4, dtype=torch.float64)
    expected = encoder(pixels).last_hidden_state
    flex = FlexSamEncoder(encoder)
    torch.testing.assert_close(flex(pixels), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(flex(pixels[1:]), expected[1:], rtol=1e-6, atol=1e-6)


@torch.inference_mode()
def test_it_equals_the_folded_encoder_in_float32() -> None:
    encoder = random_encoder(grid=8, window=3)
    pixels = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(FlexSamEncoder(encoder)(pixels), FoldedSamEncoder(encoder)(pixels), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_positions_enter_the_logits() -> None:
    """Without them the answer is another one, so that the comparisons above can fail."""
    encoder = random_encoder(grid=6, window=6)
    pixels = torch.randn(1, 3, 24, 24)
    expected = FlexSamEncoder(encoder)(pixels)
    for layer in encoder.layers:
        layer.attn.rel_pos_w.zero_()
    assert (FlexSamEncoder(encoder)(pixels) - expected).abs().max() > 0.01


@torch.inference_mode()
def test_a_layer_compiles_as_one_graph() -> None:
    encoder = random_encoder(grid=8, window=3).double()
    pixels = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    compiled = CompiledSamEncoder(encoder, FlexSamEncoder, backend="aot_eager")
    expected = encoder(pixels).last_hidden_state
    torch.testing.assert_close(compiled(pixels), expected, rtol=1e-6, atol=1e-6)
    assert compiled.is_compiled


@torch.inference_mode()
def test_attention_alone_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU by Inductor; its back end does not matter to what is computed."""
    fused = torch.compile(flex_positions, dynamic=False, fullgraph=True, backend="aot_eager")
    monkeypatch.setattr(FusedFlexSamEncoder, "attend", staticmethod(fused))
    encoder = random_encoder(grid=8, window=3).double()
    pixels = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = encoder(pixels).last_hidden_state
    torch.testing.assert_close(FusedFlexSamEncoder(encoder)(pixels), expected, rtol=1e-6, atol=1e-6)
