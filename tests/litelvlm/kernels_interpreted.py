"""Runs in a process of its own, with Triton's interpreter: the kernels against plain PyTorch, on a CPU.

Prints nothing; what differs raises. `TRITON_INTERPRET=1` has to be set before Triton is imported.
"""

from __future__ import annotations

import sys

import torch

from litelvlm.float8_rows import scaled_rows
from litelvlm.llama_kernels import KernelSteps
from litelvlm.llama_steps import PlainSteps

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
    same(FUSED.add_norm(hidden, added, weight, 1e-5), PLAIN.add_norm(hidden, added, weight, 1e-5), dtype)
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


def main() -> None:
    for dtype in (torch.float32, torch.float16):
        llama(dtype, width=24, heads=4, kv_heads=4, size=8)
        llama(dtype, width=40, heads=6, kv_heads=2, size=12)


if __name__ == "__main__":
    with torch.inference_mode():
        main() if len(sys.argv) < 2 else globals()[sys.argv[1]]()
