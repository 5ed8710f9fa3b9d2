"""SAM's attention as one Triton kernel, which finds windows, their padding and relative positions inside.

The kernel reads the projection of real tokens as it lies, BxGxGx3E, and writes BxGxGxE. A padded position of a window
is a key and a value, too, both equal to the projection's bias. What a query adds to the logits of keys in each row, and
in each column, of its window comes as two small tensors, BxGxGxNxs both, from which the kernel takes the bias of every
pair. A head's D dimensions are two blocks, of 64 and 16 for ViT-H's 80, where fused attention pads 108 and 208 to 128
and 256 (`litelvlm.folded_sam`). Keys are taken in whole rows of the window, so that the columns' part is read once.

Shapes: B images, G patches along a side, s along a window's, N heads of size D, E = N D.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from litelvlm.folded_sam import FoldedSamEncoder, OnGrid, Table

_QUERIES, _KEYS = 64, 64  # of a block
_LEAST = 16  # that a product wants of each side


@triton.jit
def _load(qkv, bias, at, at_bias, dims, size, is_real, is_padding, pads: tl.constexpr):
    """Keys or values of a block: the projection's where there are tokens, the bias where there is padding."""
    inside = (dims < size)[None, :]
    found = tl.load(qkv + at[:, None] + dims[None, :], mask=is_real[:, None] & inside, other=0.0)
    if pads:
        padding = tl.load(bias + at_bias + dims[None, :], mask=inside, other=0.0)
        found = tl.where(is_padding[:, None], padding, found)
    return found


@triton.jit
def _attend(
    qkv, bias, by_row, by_column, out, grid, side, num_windows, heads, size, scale,
    main: tl.constexpr, rest: tl.constexpr, block_q: tl.constexpr,
    rows: tl.constexpr, columns: tl.constexpr, pads: tl.constexpr,
):  # fmt: skip
    """A block of a window's queries in one head, against keys in `rows` rows of `columns` at a time."""
    block, head, window = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    width = heads * size
    image = (window // (num_windows * num_windows)).to(tl.int64)
    top = (window // num_windows) % num_windows * side
    left = window % num_windows * side
    tokens = side * side
    in_main, in_rest = tl.arange(0, main), main + tl.arange(0, rest)

    place = block * block_q + tl.arange(0, block_q)
    row, column = place // side, place % side
    is_query = (place < tokens) & (top + row < grid) & (left + column < grid)
    token = image * grid * grid + (top + row) * grid + left + column
    at = token * 3 * width + head * size
    q_main = tl.load(
        qkv + at[:, None] + in_main[None, :], mask=is_query[:, None] & (in_main < size)[None, :], other=0.0
    )
    q_rest = tl.load(
        qkv + at[:, None] + in_rest[None, :], mask=is_query[:, None] & (in_rest < size)[None, :], other=0.0
    )
    at_bias = (token * heads + head) * side

    key = tl.arange(0, rows * columns)
    key_row, key_column = key // columns, key % columns
    in_row = key_column < side
    of_column = tl.load(
        by_column + at_bias[:, None] + key_column[None, :], mask=is_query[:, None] & in_row[None, :], other=0.0
    ).to(tl.float32)

    most = tl.full([block_q], -1e30, tl.float32)
    total = tl.zeros([block_q], tl.float32)
    sum_main = tl.zeros([block_q, main], tl.float32)
    sum_rest = tl.zeros([block_q, rest], tl.float32)
    for start in range(0, side, rows):
        own_row = start + key_row
        is_key = in_row & (own_row < side)
        is_real = is_key & (top + own_row < grid) & (left + key_column < grid)
        is_padding = is_key & (is_real == 0)
        at_key = (image * grid * grid + (top + own_row) * grid + left + key_column) * 3 * width + width + head * size
        k_main = _load(qkv, bias, at_key, width + head * size, in_main, size, is_real, is_padding, pads)
        k_rest = _load(qkv, bias, at_key, width + head * size, in_rest, size, is_real, is_padding, pads)
        if rows == 1:
            of_row = tl.load(by_row + at_bias + start, mask=is_query, other=0.0).to(tl.float32)[:, None]
        else:
            of_row = tl.load(
                by_row + at_bias[:, None] + own_row[None, :], mask=is_query[:, None] & is_key[None, :], other=0.0
            ).to(tl.float32)
        logits = tl.dot(q_main, tl.trans(k_main), input_precision="ieee")
        logits += tl.dot(q_rest, tl.trans(k_rest), input_precision="ieee")
        logits = (logits * scale + of_row + of_column) * 1.4426950408889634
        logits = tl.where(is_key[None, :], logits, -1e30)
        higher = tl.maximum(most, tl.max(logits, 1))
        shrunk, shares = tl.exp2(most - higher), tl.exp2(logits - higher[:, None])
        shares = tl.where(is_key[None, :], shares, 0.0)
        total = total * shrunk + tl.sum(shares, 1)
        v_main = _load(qkv, bias, at_key + width, 2 * width + head * size, in_main, size, is_real, is_padding, pads)
        v_rest = _load(qkv, bias, at_key + width, 2 * width + head * size, in_rest, size, is_real, is_padding, pads)
        narrow = shares.to(v_main.dtype)
        sum_main = sum_main * shrunk[:, None] + tl.dot(narrow, v_main, input_precision="ieee")
        sum_rest = sum_rest * shrunk[:, None] + tl.dot(narrow, v_rest, input_precision="ieee")
        most = higher
    at_out = token * width + head * size
    kind = out.dtype.element_ty
    is_main, is_rest = is_query[:, None] & (in_main < size)[None, :], is_query[:, None] & (in_rest < size)[None, :]
    tl.store(out + at_out[:, None] + in_main[None, :], (sum_main / total[:, None]).to(kind), mask=is_main)
    tl.store(out + at_out[:, None] + in_rest[None, :], (sum_rest / total[:, None]).to(kind), mask=is_rest)


@torch.library.custom_op("litelvlm::sam_attention", mutates_args=())
def sam_attention(
    qkv: Tensor, bias: Tensor, by_row: Tensor, by_column: Tensor, side: int, heads: int, scale: float
) -> Tensor:
    """Attention within windows, BxGxGxE.

    Args:
        qkv: BxGxGx3E, projected.
        bias: 3E, what padded positions project to.
        by_row, by_column: BxGxGxNxs, what each query adds to the logits of its window's rows and columns.
        side: s; G for attention over everything.
        heads: N.
        scale: of products.
    """
    qkv, bias, by_row, by_column = (one.contiguous() for one in (qkv, bias, by_row, by_column))
    images, grid, width = len(qkv), qkv.shape[1], qkv.shape[-1] // 3
    size, num_windows = width // heads, -(-grid // side)
    out = qkv.new_empty(images, grid, grid, width)
    columns = max(_LEAST, triton.next_power_of_2(side))
    main = max(_LEAST, triton.next_power_of_2(size + 1) // 2)
    block_q = min(_QUERIES, max(_LEAST, triton.next_power_of_2(side * side)))
    launch = (triton.cdiv(side * side, block_q), heads, images * num_windows**2)
    _attend[launch](
        qkv, bias, by_row, by_column, out, grid, side, num_windows, heads, size, scale,
        main=main, rest=max(_LEAST, triton.next_power_of_2(max(size - main, 1))), block_q=block_q,
        rows=max(1, _KEYS // columns), columns=columns, pads=num_windows * side > grid, num_warps=4, num_stages=2,
    )  # fmt: skip
    return out


@sam_attention.register_fake
def _(qkv: Tensor, bias: Tensor, by_row: Tensor, by_column: Tensor, side: int, heads: int, scale: float) -> Tensor:
    return qkv.new_empty(*qkv.shape[:-1], qkv.shape[-1] // 3)


def attend_on_grid(qkv: Tensor, bias: Tensor | None, table: Table, side: int, heads: int, scale: float) -> Tensor:
    """As `litelvlm.folded_sam.OnGrid.attend`."""
    grid = qkv.shape[1]
    queries = qkv.unflatten(-1, (3, heads, -1))[:, :, :, 0]
    repeats = -(-grid // side)
    rows, columns = (one.repeat(repeats, 1, 1)[:grid] for one in table[:2])
    by_row = torch.einsum("bhwnc,hkc->bhwnk", queries, rows)
    by_column = torch.einsum("bhwnc,wkc->bhwnk", queries, columns)
    bias = qkv.new_zeros(qkv.shape[-1]) if bias is None else bias
    return sam_attention(qkv, bias, by_row, by_column, side, heads, scale)


class KernelSamEncoder(FoldedSamEncoder):
    """Runs a `SamVisionEncoder` with this kernel."""

    attend = OnGrid(attend_on_grid)
