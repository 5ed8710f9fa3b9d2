"""Attention among packed prompts, of two kinds with one interface.

* `padded`: a row for each prompt, filled up to the longest, behind a copy of the common prefix.
* `stretches`: `torch.nn.attention.varlen` over the tokens as they lie. A stretch attends to itself, causally; the
  common prefix is attended apart, once for all tokens, and so are a prompt's visual tokens by its branches. Parts of a
  softmax are merged by their log-sum-exps: with `out_i` and `lse_i` of each part, `out = sum(exp(lse_i - lse) out_i)`
  where `lse = logsumexp(lse_i)`. There is no such kernel for a CPU, nor for float32.

Shapes: N prompts of T tokens together after their common prefix of P tokens, S the longest of them, H heads and K
key-value heads of size D, V visual tokens of all prompts together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import varlen
from torch.nn.attention.bias import causal_lower_right
from torch.nn.attention.varlen import AuxRequest

from litelvlm.packed_prompts import Attend, KeysValues, PackedPrompts

Part = tuple[Tensor, Tensor]  # attention over some of the keys, TxHxD, and the log-sum-exps of its logits, HxT float32
Merge = Callable[..., Tensor]
Ends = tuple[Tensor, int]  # of sequences, cumulative, int32, with 0; and the length of the longest

_CAUSAL, _EVERYTHING = (-1, 0), (-1, -1)


def merged(*parts: Part) -> Tensor:
    """TxHxD, attention over everything, of attention over disjoint parts."""
    sums = torch.stack([lse for _, lse in parts])
    shares = (sums - sums.logsumexp(0)).exp().transpose(1, 2)[..., None]
    weighted = torch.stack([one * share for (one, _), share in zip(parts, shares, strict=True)])
    return weighted.sum(0).to(parts[0][0].dtype)


def padded_attention(prompts: PackedPrompts, num_prefix: int) -> Attend:
    """Attention of every token to the prefix and to what its prompt holds before it, in rows."""
    mask = _mask(prompts, num_prefix)
    if type(mask) is Tensor:  # PyTorch would do so in every layer
        mask = torch.zeros_like(mask, dtype=prompts.embeds.dtype).masked_fill_(~mask, -math.inf)
    places = prompts.rows * prompts.width + prompts.columns

    def attend(queries: Tensor, keys: Tensor, values: Tensor, before: KeysValues) -> Tensor:
        keys, values = padded(keys, prompts, before[0]), padded(values, prompts, before[1])
        return attend_rows(padded(queries, prompts), keys, values, mask).flatten(0, 1).index_select(0, places)

    return attend


def stretched_attention(prompts: PackedPrompts, merge: Merge = merged) -> Attend:
    """The same in stretches.

    Args:
        prompts: packed with stretches.
        merge: as `merged`.
    """
    assert prompts.stretches is not None, "these prompts were packed without stretches"
    at = prompts.stretches

    def attend(queries: Tensor, keys: Tensor, values: Tensor, before: KeysValues) -> Tensor:
        groups = queries.shape[1] // keys.shape[1]
        if groups > 1:  # the kernel of torch 2.11 wants a key head for each query head
            keys, values = (part.repeat_interleave(groups, 1) for part in (keys, values))
            before = before[0].repeat_interleave(groups, 1), before[1].repeat_interleave(groups, 1)
        own = _attend(queries, keys, values, (at.own, at.longest), (at.own, at.longest), _CAUSAL)
        whole, prefix = (at.whole, len(queries)), (at.prefix_ends, len(before[0]))
        to_prefix = _attend(queries, *before, whole, prefix, _EVERYTHING)
        if at.branch_ends is None or at.visual_ends is None:
            return merge(own, to_prefix)
        visual = at.num_retained * (len(at.visual_ends) - 1)
        to_visual = _attend(
            queries[visual:],
            keys[:visual],
            values[:visual],
            (at.branch_ends, at.longest_text),
            (at.visual_ends, at.num_retained),
            _EVERYTHING,
        )
        of_visual = merge(_rows(own, 0, visual), _rows(to_prefix, 0, visual))
        return torch.cat([of_visual, merge(_rows(own, visual), _rows(to_prefix, visual), to_visual)])

    return attend


def attend_rows(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """NxSxHxD of queries NxSxHxD, keys and values Nx(P+S)xKxD."""
    return F.scaled_dot_product_attention(
        queries.transpose(1, 2),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        attn_mask=mask,
        enable_gqa=queries.shape[2] != keys.shape[2],
    ).transpose(1, 2)


def padded(packed: Tensor, prompts: PackedPrompts, prefix: Tensor | None = None) -> Tensor:
    """Packed TxKxD to one row per prompt, NxSxKxD, behind the common prefix if there is one."""
    before = 0 if prefix is None else len(prefix)
    rows = packed.new_zeros(prompts.num_rows, before + prompts.width, *packed.shape[1:])
    if prefix is not None:
        rows[:, :before] = prefix
    rows[prompts.rows, prompts.columns + before] = packed
    return rows


def read_mask(prompts: PackedPrompts, num_prefix: int) -> Tensor:
    """Nx1xQx(P+S) bool: what the positions that are read see."""
    rows, columns = prompts.rows[prompts.read], prompts.columns[prompts.read]
    mask = torch.zeros(
        prompts.num_rows, prompts.num_slots, num_prefix + prompts.width, dtype=torch.bool, device=rows.device
    )
    mask[..., 0] = True  # rows that nobody reads see something, lest they turn into NaN
    if prompts.branches is None:
        index = torch.arange(num_prefix + prompts.width, device=rows.device)
        mask[rows, prompts.read_slots] = index <= (columns + num_prefix)[:, None]
    else:
        mask[rows, prompts.read_slots] = _tree_mask(prompts, num_prefix)[rows, 0, columns]
    return mask[:, None]


def _attend(queries: Tensor, keys: Tensor, values: Tensor, ends_q: Ends, ends_k: Ends, window: tuple[int, int]) -> Part:
    """Attention of sequences of queries to sequences of keys."""
    (cu_seq_q, max_q), (cu_seq_k, max_k) = ends_q, ends_k
    aux = AuxRequest(lse=True)
    found = varlen.varlen_attn(
        queries, keys, values, cu_seq_q, cu_seq_k, max_q, max_k, return_aux=aux, window_size=window
    )
    return cast(Part, found)


def _rows(part: Part, start: int, stop: int | None = None) -> Part:
    """What a part says of some of the tokens."""
    return part[0][start:stop], part[1][:, start:stop]


def _mask(prompts: PackedPrompts, num_prefix: int) -> Tensor:
    """Which of the prefix and its own prompt each token sees; padding lies to the right, where nobody looks."""
    if prompts.branches is not None:
        return _tree_mask(prompts, num_prefix)
    if prompts.embeds.is_cuda:
        return causal_lower_right(prompts.width, num_prefix + prompts.width)
    ones = torch.ones(prompts.width, num_prefix + prompts.width, dtype=torch.bool, device=prompts.embeds.device)
    return ones.tril(num_prefix)


def _tree_mask(prompts: PackedPrompts, num_prefix: int) -> Tensor:
    """Nx1xSx(P+S) bool: a token sees the prefix, what all see before it, and what its own branch holds before it."""
    branches = torch.zeros(prompts.num_rows, prompts.width, dtype=torch.int64, device=prompts.embeds.device)
    assert prompts.branches is not None
    branches[prompts.rows, prompts.columns] = prompts.branches
    index = torch.arange(prompts.width, device=branches.device)
    same = (branches[:, :, None] == branches[:, None, :]) | (branches[:, None, :] == 0)
    own = same & (index[:, None] >= index)
    return F.pad(own, (num_prefix, 0), value=True)[:, None]
