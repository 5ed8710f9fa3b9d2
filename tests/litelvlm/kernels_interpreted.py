"""Runs in a process of its own, with Triton's interpreter: the kernels against plain PyTorch, on a CPU.

Prints nothing; what differs raises. `TRITON_INTERPRET=1` has to be set before Triton is imported.
"""

from __future__ import annotations

import sys

import torch

from litelvlm.float8_rows import scaled_rows
from litelvlm.folded_sam import FoldedSamEncoder, _partition, _unpartition, folded_attention
from litelvlm.llama_kernels import KernelSteps
from litelvlm.llama_steps import PlainSteps
from litelvlm.sam_kernel import KernelSamEncoder, attend_on_grid
from tests.litelvlm.test_folded_sam import random_encoder

PLAIN, FUSED, ROUNDING = PlainSteps(), KernelSteps(), KernelSteps(rounds=True)
CLOSE = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.float16: {"rtol": 2e-3, "atol": 2e-3}}


def same(found: object, expected: object, dtype: torch.dtype) -> None:
    torch.testing.assert_close(found, expected, **CLOSE[dtype])


def rounded(found: tuple[torch.Tensor, torch.Tensor], exact: torch.Tensor) -> None:
    """Float8 of what is exact: the same scales, and the nearest values, or nearly where there are two.

    Triton's interpreter loses the carry of what is rounded up to a power of two, so these are left out.
    """
    expected = scaled_rows(exact)
    torch.testing.assert_close(found[1], expected.scales, rtol=2e-3, atol=1e-7)
    nearest = expected.values.float()
    carried = nearest.abs().clamp_min(1e-9).log2().frac() == 0
    error = (found[0].float() - exact.float() / expected.scales).abs()
    assert (~carried).float().mean() > 0.5 or not exact.any()
    assert (error <= nearest.abs() / 14 + 0.01)[~carried].all()


def llama(dtype: torch.dtype, width: int, heads: int, kv_heads: int, size: int) -> None:
    torch.manual_seed(width)
    hidden, added = torch.randn(2, 5, width).to(dtype)
    weight = torch.randn(width).to(dtype)
    same(FUSED.norm(hidden, weight, 1e-5), PLAIN.norm(hidden, weight, 1e-5), dtype)
    same(
        FUSED.add_norm(hidden, added.clone(), weight, 1e-5), PLAIN.add_norm(hidden, added.clone(), weight, 1e-5), dtype
    )
    gate_up = torch.randn(5, 2 * width).to(dtype)
    same(FUSED.gated(gate_up), PLAIN.gated(gate_up.clone()), dtype)
    assert FUSED.given(hidden) is hidden
    qkv, (cos, sin) = torch.randn(5, (heads + 2 * kv_heads) * size).to(dtype), torch.randn(2, 5, size).to(dtype)
    expected = PLAIN.rotate(qkv.clone(), cos, sin, heads, kv_heads)
    same(FUSED.rotate(qkv.clone(), cos, sin, heads, kv_heads), expected, dtype)
    for count in (2, 3):
        parts = [(torch.randn(5, heads, size).to(dtype), 5 * torch.randn(heads, 9)[:, 2:7]) for _ in range(count)]
        same(FUSED.merge(*parts), PLAIN.merge(*parts), dtype)
    rounded(ROUNDING.norm(hidden, weight, 1e-5), PLAIN.norm(hidden.float(), weight.float(), 1e-5))
    rounded(ROUNDING.gated(gate_up), PLAIN.gated(gate_up.float()))
    rounded(ROUNDING.given(hidden), hidden)
    rounded(ROUNDING.given(torch.zeros(2, width, dtype=dtype)), torch.zeros(2, width))


def sam(dtype: torch.dtype, grid: int, window: int) -> None:
    """Layers with windows, padded ones among them, and a global one, on the whole encoder."""
    encoder = random_encoder(grid=grid, window=window).to(dtype)
    pixels = torch.randn(2, 3, grid * 4, grid * 4).to(dtype)
    expected = FoldedSamEncoder(encoder.float())(pixels.float())
    found = KernelSamEncoder(encoder.to(dtype))(pixels)
    assert found.dtype == dtype
    tolerance = (1e-4 if dtype == torch.float32 else 2e-2) * float(expected.abs().max())
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance)


def head_of_80(dtype: torch.dtype) -> None:
    """ViT-H's size of a head, in a window that reaches beyond the image, with large logits."""
    torch.manual_seed(0)
    side, grid, heads, size = 14, 16, 2, 80
    qkv = torch.randn(1, grid, grid, 3 * heads * size).to(dtype)
    bias, rows, columns = torch.randn(3 * heads * size).to(dtype), *torch.randn(2, side, side, size).to(dtype) / 4
    table = (rows, columns, torch.zeros(0))
    one_hot = torch.eye(side)
    places = torch.cat([one_hot.repeat_interleave(side, 0), one_hot.repeat(side, 1)], dim=1)
    windows = _partition(qkv.float(), side, bias.float())
    parts = windows.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    queries, keys, values = parts.unbind(0)
    attended = folded_attention(queries, keys, values, (rows.float(), columns.float(), places), size**-0.5)
    expected = _unpartition(attended.transpose(1, 2).flatten(-2), side, grid, 1)
    found = attend_on_grid(qkv, bias, table, side, heads, size**-0.5)
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)


def main_sam() -> None:
    sam(torch.float32, grid=8, window=3)
    sam(torch.float32, grid=5, window=7)
    sam(torch.float16, grid=6, window=3)
    head_of_80(torch.float32)


def main() -> None:
    for dtype in (torch.float32, torch.float16):
        llama(dtype, width=24, heads=4, kv_heads=4, size=8)
        llama(dtype, width=40, heads=6, kv_heads=2, size=12)


if __name__ == "__main__":
    with torch.inference_mode():
        main() if len(sys.argv) < 2 else globals()[sys.argv[1]]()
