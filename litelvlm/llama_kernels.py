"""What stands between LLaMA's matrix products, in Triton: each step reads and writes its rows once.

They compute what `litelvlm.llama_steps.PlainSteps` does, in float32 inside. Where the next product is in float8, its
inputs are rounded in the same pass, a scale a row.

Shapes: T tokens of width W, H heads and K key-value heads of size D, I the width inside the MLP.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from litelvlm.float8_rows import FLOAT8, LARGEST, ScaledRows
from litelvlm.llama_attention import Part

_MOST_PARTS = 3
_LEAST = 1e-12  # of a row's largest value, so that a row of zeros has a scale


@triton.jit
def _store_row(values, out, scales, row, columns, inside, width, largest, rounds: tl.constexpr):
    """A row as it is, or rounded to float8 with its scale."""
    if rounds:
        peak = tl.maximum(tl.max(tl.abs(values), 0), 1e-12)
        scale = peak / largest
        tl.store(scales + row, scale)
        values = tl.minimum(tl.maximum(values / scale, -largest), largest)
    tl.store(out + row * width + columns, values.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _add_norm(
    hidden, added, weight, total, out, scales, width, eps, largest,
    adds: tl.constexpr, rounds: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, block)
    inside = columns < width
    values = tl.load(hidden + row * width + columns, mask=inside, other=0.0)
    if adds:
        values = values + tl.load(added + row * width + columns, mask=inside, other=0.0)
        tl.store(total + row * width + columns, values, mask=inside)
    exact = values.to(tl.float32)
    exact = exact * tl.rsqrt(tl.sum(exact * exact, 0) / width + eps)
    normed = exact * tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    _store_row(normed, out, scales, row, columns, inside, width, largest, rounds)


@triton.jit
def _rotate(qkv, cos, sin, row_stride, num_turned, half: tl.constexpr, heads: tl.constexpr, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, heads)[:, None]
    column = tl.arange(0, block)[None, :]
    inside = (head < num_turned) & (column < half)
    first = qkv + row * row_stride + head * (2 * half) + column
    low = tl.load(first, mask=inside, other=0.0).to(tl.float32)
    high = tl.load(first + half, mask=inside, other=0.0).to(tl.float32)
    angle = row * (2 * half) + column
    known = column < half
    cos_low = tl.load(cos + angle, mask=known, other=0.0).to(tl.float32)
    cos_high = tl.load(cos + angle + half, mask=known, other=0.0).to(tl.float32)
    sin_low = tl.load(sin + angle, mask=known, other=0.0).to(tl.float32)
    sin_high = tl.load(sin + angle + half, mask=known, other=0.0).to(tl.float32)
    tl.store(first, (low * cos_low - high * sin_low).to(qkv.dtype.element_ty), mask=inside)
    tl.store(first + half, (high * cos_high + low * sin_high).to(qkv.dtype.element_ty), mask=inside)


@triton.jit
def _gated(gate_up, out, scales, width, largest, rounds: tl.constexpr, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, block)
    inside = columns < width
    gate = tl.load(gate_up + row * 2 * width + columns, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + columns, mask=inside, other=0.0).to(tl.float32)
    _store_row(gate * tl.sigmoid(gate) * up, out, scales, row, columns, inside, width, largest, rounds)


@triton.jit
def _rounded(values, out, scales, width, largest, rounds: tl.constexpr, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, block)
    inside = columns < width
    own = tl.load(values + row * width + columns, mask=inside, other=0.0).to(tl.float32)
    _store_row(own, out, scales, row, columns, inside, width, largest, rounds)


@triton.jit
def _merge(
    first, second, third, sums_first, sums_second, sums_third, out,
    stride_first, stride_second, stride_third, size,
    has_third: tl.constexpr, heads, block: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    columns = tl.arange(0, block)
    inside = columns < size
    at = (row * heads + head) * size + columns
    one = tl.load(sums_first + head * stride_first + row)
    two = tl.load(sums_second + head * stride_second + row)
    most = tl.maximum(one, two)
    if has_third:
        three = tl.load(sums_third + head * stride_third + row)
        most = tl.maximum(most, three)
    share_one, share_two = tl.exp(one - most), tl.exp(two - most)
    whole = share_one + share_two
    values = share_one * tl.load(first + at, mask=inside, other=0.0).to(tl.float32)
    values += share_two * tl.load(second + at, mask=inside, other=0.0).to(tl.float32)
    if has_third:
        share_three = tl.exp(three - most)
        whole += share_three
        values += share_three * tl.load(third + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, (values / whole).to(out.dtype.element_ty), mask=inside)


class KernelSteps:
    """`litelvlm.llama_steps.Steps`, fused.

    Args:
        rounds: whether what goes into a product is `ScaledRows`, for products in float8.
    """

    def __init__(self, *, rounds: bool = False) -> None:
        self._rounds = rounds

    def norm(self, hidden: Tensor, weight: Tensor, eps: float) -> Any:
        return self._normed(hidden, None, weight, eps)[1]

    def add_norm(self, hidden: Tensor, added: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Any]:
        return self._normed(hidden, added, weight, eps)

    def rotate(self, qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """In place: all three are views of the product."""
        in_heads = qkv.unflatten(-1, (heads + 2 * kv_heads, -1))
        half, turned = in_heads.shape[-1] // 2, heads + kv_heads
        blocks = {"heads": triton.next_power_of_2(turned), "block": triton.next_power_of_2(half)}
        cos, sin = cos.contiguous(), sin.contiguous()
        _rotate[(len(qkv),)](qkv, cos, sin, qkv.stride(0), turned, half=half, num_warps=8, **blocks)
        return in_heads[:, :heads], in_heads[:, heads:turned], in_heads[:, turned:]

    def gated(self, gate_up: Tensor) -> Any:
        width = gate_up.shape[-1] // 2
        out, scales = self._outputs(gate_up, width)
        _gated[(len(gate_up),)](gate_up, out, scales, width, LARGEST, **self._options(width))
        return self._given(out, scales)

    def given(self, values: Tensor) -> Any:
        if not self._rounds:
            return values
        values = values.contiguous()
        out, scales = self._outputs(values, values.shape[-1])
        _rounded[(len(values),)](values, out, scales, values.shape[-1], LARGEST, **self._options(values.shape[-1]))
        return self._given(out, scales)

    def merge(self, *parts: Part) -> Tensor:
        """Of two or three parts."""
        assert 2 <= len(parts) <= _MOST_PARTS
        outs, sums = [one.contiguous() for one, _ in parts], [one for _, one in parts]
        merged = torch.empty_like(outs[0])
        filled = [*outs, outs[0]][:_MOST_PARTS], [*sums, sums[0]][:_MOST_PARTS]
        tokens, heads, size = merged.shape
        _merge[(tokens, heads)](
            *filled[0], *filled[1], merged, *(one.stride(0) for one in filled[1]), size,
            has_third=len(parts) == _MOST_PARTS, heads=heads, block=triton.next_power_of_2(size), num_warps=1,
        )  # fmt: skip
        return merged

    def _normed(self, hidden: Tensor, added: Tensor | None, weight: Tensor, eps: float) -> tuple[Tensor, Any]:
        width = hidden.shape[-1]
        total = hidden if added is None else torch.empty_like(hidden)
        out, scales = self._outputs(hidden, width)
        _add_norm[(len(hidden),)](
            hidden, hidden if added is None else added, weight, total, out, scales, width, eps, LARGEST,
            adds=added is not None, **self._options(width),
        )  # fmt: skip
        return total, self._given(out, scales)

    def _outputs(self, like: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """Room for TxW and for a scale a row."""
        out = like.new_empty(len(like), width, dtype=FLOAT8 if self._rounds else like.dtype)
        return out, like.new_empty(len(like) if self._rounds else 1, 1, dtype=torch.float32)

    def _options(self, width: int) -> dict[str, Any]:
        block = triton.next_power_of_2(width)
        return {"rounds": self._rounds, "block": block, "num_warps": 4 if block <= 4096 else 8}

    def _given(self, out: Tensor, scales: Tensor) -> Any:
        return ScaledRows(out, scales) if self._rounds else out
