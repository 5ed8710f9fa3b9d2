"""Other kernels for SAM's attention are given the same function to compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.nn.attention import SDPBackend

from litelvlm import sam_attention
from litelvlm.compiled_sam import CompiledSamEncoder
from litelvlm.folded_sam import FoldedSamEncoder
from litelvlm.sam_attention import CudnnSamEncoder, FlexSamEncoder
from tests.litelvlm.fake_gpu import fake_gpu, on_gpu
from tests.litelvlm.test_folded_sam import random_encoder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_compiler")]

KINDS = [CudnnSamEncoder, FlexSamEncoder]


@pytest.fixture
def _on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The written-out attention in cuDNN's place."""
    monkeypatch.setattr(sam_attention, "_CUDNN", SDPBackend.MATH)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.usefixtures("_on_a_cpu")
@pytest.mark.parametrize(("grid", "window"), [(8, 3), (6, 6), (5, 7)], ids=lambda value: str(value))
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_it_equals_the_plain_encoder(kind: type[FoldedSamEncoder], grid: int, window: int) -> None:
    encoder = random_encoder(grid=grid, window=window).double()
    pixels = torch.randn(2, 3, grid * 4, grid * 4, dtype=torch.float64)
    expected = encoder(pixels).last_hidden_state
    torch.testing.assert_close(kind(encoder)(pixels), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("_on_a_cpu")
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_compiled_it_is_the_same_with_two_graphs_for_a_bucket(kind: type[FoldedSamEncoder]) -> None:
    encoder = random_encoder(grid=8, window=3)
    compiled = CompiledSamEncoder(encoder, kind, backend="aot_eager")
    for seed in range(2):
        pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(compiled(pixels), encoder(pixels).last_hidden_state, rtol=1e-4, atol=1e-4)
    assert counters["stats"]["unique_graphs"] == 2, "a layer with windows and a global one"
    assert not counters["graph_break"]
    assert compiled.is_compiled


@pytest.mark.usefixtures("_on_a_cpu")
@torch.inference_mode()
def test_heads_have_sizes_that_cudnn_takes_and_values_stay_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int, int]] = []

    def attend(queries: Any, keys: Any, values: Any, scale: float) -> Any:
        sizes.append((queries.shape[-1], keys.shape[-1], values.shape[-1]))
        return torch.zeros(*queries.shape[:-1], values.shape[-1])

    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", attend)
    CudnnSamEncoder(random_encoder(grid=7, window=3))(torch.randn(1, 3, 28, 28))
    assert sizes == [(16, 16, 8), (24, 24, 8), (16, 16, 8)]  # of 8 + 2 * 3 and 8 + 2 * 7


@torch.inference_mode()
def test_no_other_kernel_stands_in_for_cudnn() -> None:
    with pytest.raises(RuntimeError, match="No viable backend"):
        CudnnSamEncoder(random_encoder(grid=8, window=4))(torch.randn(1, 3, 32, 32))


def test_nothing_leaves_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch would ask the driver which kernels there are; cuDNN's is called by its own name."""

    def attend(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Any:
        return torch.ops.aten._scaled_dot_product_cudnn_attention(queries, keys, values, None, False, scale=scale)[0]

    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", attend)
    encoder = random_encoder(grid=8, window=3).bfloat16()
    with fake_gpu():
        on_gpu(encoder)
        pixels = torch.empty(2, 3, 32, 32, dtype=torch.bfloat16, device="cuda")
        for kind in KINDS:
            found = kind(encoder)(pixels)
            assert (found.shape, found.dtype, found.device.type) == ((2, 16, 8, 8), torch.bfloat16, "cuda")
