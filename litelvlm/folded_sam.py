"""SAM's image encoder with its relative positions folded into the heads, or as one bias: the same function.

The decomposed relative position adds `q·Rh[h, h'] + q·Rw[w, w']` to every logit. With `q' = [q * scale, q·Rh, q·Rw]`
and `k' = [k, onehot(h'), onehot(w')]` the same logits are `q'·k'`, so that plain attention computes them and no bias of
queries x keys x heads is ever built: what a GPU wants. On a CPU, heads twice as wide cost more than the bias, if that
is written once, as it is read. Queries, keys and values are projected for real tokens only; a padded position of
a window is a key too, whose projection is the bias. Tables are looked up once, and the convolutions before and after
the layers are products. The weights are those of transformers' `SamVisionEncoder`.

Shapes: B images, G patches along a side, W windows in all, s patches along a window's side (G in global layers), N
heads of size D.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.sam.modeling_sam import SamVisionAttention, SamVisionEncoder, SamVisionLayer

from litelvlm.pixels import embed_patches

Table = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class OnGrid:
    """Attention that needs no windows made for it.

    Attributes:
        attend: BxGxGxE, of the projection BxGxGx3E, its bias, the table, s, N and the scale.
    """

    attend: Callable[[Tensor, Tensor | None, Table, int, int, float], Tensor]


Attend = Callable[[Tensor, Tensor, Tensor, Table, float], Tensor] | OnGrid
RunLayer = Callable[[SamVisionLayer, Tensor, Table, Attend], Tensor]


def folded_attention(queries: Tensor, keys: Tensor, values: Tensor, table: Table, scale: float) -> Tensor:
    """WxNx(s*s)xD attention with relative positions, of queries, keys and values WxNx(s*s)xD."""
    queries, keys = folded_heads(queries, keys, table, scale)
    size = values.shape[-1]
    values = F.pad(values, (0, queries.shape[-1] - size))  # fused kernels want one head size for all three
    return F.scaled_dot_product_attention(queries, keys, values, scale=1.0)[..., :size]


def folded_heads(queries: Tensor, keys: Tensor, table: Table, scale: float) -> tuple[Tensor, Tensor]:
    """Queries and keys WxNx(s*s)x(D+2s), whose products are the logits."""
    by_row, by_column = relative_logits(queries, table)
    queries = torch.cat([queries * scale, by_row, by_column], dim=-1)
    return queries, torch.cat([keys, table[2].expand(*keys.shape[:2], -1, -1)], dim=-1)


def biased_attention(queries: Tensor, keys: Tensor, values: Tensor, table: Table, scale: float) -> Tensor:
    """The same, with the relative positions as a bias of queries x keys."""
    by_row, by_column = relative_logits(queries, table)
    side = len(table[0])
    bias = queries.new_empty(*queries.shape[:3], side, side)
    torch.add(by_row[..., None], by_column[..., None, :], out=bias)  # or it is written in another order, and copied
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias.flatten(-2), scale=scale)


def relative_logits(queries: Tensor, table: Table) -> tuple[Tensor, Tensor]:
    """What a query adds to the logit of a key in each row, and in each column, of its window: WxNx(s*s)xs both."""
    rows, columns, _ = table
    placed = queries.unflatten(2, (len(rows), len(rows)))
    by_row = torch.einsum("bnhwc,hkc->bnhwk", placed, rows).flatten(2, 3)
    by_column = torch.einsum("bnhwc,wkc->bnhwk", placed, columns).flatten(2, 3)
    return by_row, by_column


def sam_layer(layer: SamVisionLayer, hidden: Tensor, table: Table, attend: Attend) -> Tensor:
    """A layer's output BxGxGxE of hidden states BxGxGxE."""
    hidden = _attention(layer, layer.layer_norm1(hidden), table, attend).add_(hidden)
    inner = torch.ops.aten.gelu_(layer.mlp.lin1(layer.layer_norm2(hidden)))
    return layer.mlp.lin2(inner).add_(hidden)


class FoldedSamEncoder:
    """Runs a `SamVisionEncoder`.

    Args:
        encoder: its weights; they may be moved or replaced until the first call.
        run_layer: `sam_layer`, or the same compiled.
    """

    attend: Attend = staticmethod(folded_attention)

    def __init__(self, encoder: SamVisionEncoder, run_layer: RunLayer = sam_layer) -> None:
        self._encoder, self._run_layer = encoder, run_layer
        self._tables: list[Table] | None = None

    def __call__(self, pixels: Tensor) -> Tensor:
        """Image embeddings BxCxGxG of normalised, padded pixels Bx3xSxS."""
        encoder = self._encoder
        hidden = embed_patches(encoder.patch_embed.projection, pixels)
        if encoder.pos_embed is not None:
            hidden = hidden + encoder.pos_embed
        layers = cast(list[SamVisionLayer], list(encoder.layers))
        if self._tables is None or self._tables[0][0].device != hidden.device:
            self._tables = [_table(layer, hidden) for layer in layers]
        for layer, table in zip(layers, self._tables, strict=True):
            hidden = self._run_layer(layer, hidden, table, self.attend)
        return _neck(encoder, hidden)


class BiasedSamEncoder(FoldedSamEncoder):
    """The same with a bias, for CPUs."""

    attend: Attend = staticmethod(biased_attention)


def _neck(encoder: SamVisionEncoder, hidden: Tensor) -> Tensor:
    """BxCxGxG of BxGxGxE: two convolutions, of 1x1 and of 3x3, as products."""
    neck, grid = encoder.neck, hidden.shape[1]
    hidden = normed(neck.layer_norm1, F.linear(hidden, neck.conv1.weight.flatten(1)))
    around = F.pad(hidden, (0, 0, 1, 1, 1, 1))
    shifts = [around[:, row : row + grid, column : column + grid] for row in range(3) for column in range(3)]
    weight = neck.conv2.weight.permute(0, 2, 3, 1).flatten(1)
    hidden = normed(neck.layer_norm2, F.linear(torch.cat(shifts, dim=-1), weight))
    return hidden.permute(0, 3, 1, 2).contiguous()


def normed(norm: Any, hidden: Tensor) -> Tensor:
    """A norm over channels, which stand last here."""
    return F.layer_norm(hidden, hidden.shape[-1:], norm.weight, norm.bias, norm.eps)


def _table(layer: SamVisionLayer, hidden: Tensor) -> Table:
    """sxsxD relative positions of rows and of columns, and (s*s)x2s: each key's row and column, one hot."""
    side = layer.window_size or hidden.shape[1]
    attention: SamVisionAttention = layer.attn
    rows, columns = (
        attention.get_rel_pos(side, side, table).to(hidden.dtype)
        for table in (attention.rel_pos_h, attention.rel_pos_w)
    )
    one_hot = torch.eye(side, dtype=hidden.dtype, device=hidden.device)
    places = torch.cat([one_hot.repeat_interleave(side, 0), one_hot.repeat(side, 1)], dim=1)
    return rows, columns, places


def _attention(layer: SamVisionLayer, normed: Tensor, table: Table, attend: Attend) -> Tensor:
    """BxGxGxE attended and projected, of normed hidden states BxGxGxE."""
    grid, attention = normed.shape[1], layer.attn
    side = layer.window_size or grid
    projected = attention.qkv(normed)
    if isinstance(attend, OnGrid):
        heads = attention.num_attention_heads
        return attention.proj(attend.attend(projected, attention.qkv.bias, table, side, heads, attention.scale))
    windows = _partition(projected, side, attention.qkv.bias)
    queries, keys, values = windows.unflatten(-1, (3, attention.num_attention_heads, -1)).permute(2, 0, 3, 1, 4)
    attended = attend(queries, keys, values, table, attention.scale)
    merged = _unpartition(attended.transpose(1, 2).flatten(-2), side, grid, len(normed))
    return attention.proj(merged)


def _partition(projected: Tensor, side: int, padding: Tensor | None) -> Tensor:
    """Wx(s*s)xE windows of BxGxGxE; where the last ones reach beyond the image stands `padding`, E, or zeros."""
    grid = projected.shape[1]
    num_windows = -(-grid // side)
    if num_windows * side > grid:
        whole = projected.new_zeros(len(projected), num_windows * side, num_windows * side, projected.shape[-1])
        if padding is not None:
            whole += padding
        whole[:, :grid, :grid] = projected
        projected = whole
    split = projected.unflatten(2, (num_windows, side)).unflatten(1, (num_windows, side))
    return split.transpose(2, 3).flatten(3, 4).flatten(0, 2) if side != grid else projected.flatten(1, 2)


def _unpartition(windows: Tensor, side: int, grid: int, num_images: int) -> Tensor:
    """The inverse, without what lies beyond the image."""
    if side == grid:
        return windows.unflatten(1, (grid, grid))
    num_windows = -(-grid // side)
    split = windows.unflatten(1, (side, side)).unflatten(0, (num_images, num_windows, num_windows))
    return split.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :grid, :grid]
