"""LLaMA's forward pass over packed prompts: no padding in any linear layer, the common prefix computed once, and in the
last layer nothing but the hidden states that are read. The weights are those of transformers' `LlamaModel`.

Shapes: N prompts of T tokens together after their common prefix of P tokens, S the longest of them, R hidden states to
read, W the width, H heads and K key-value heads of size D.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.bias import causal_lower_right
from transformers import LlamaModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, rotate_half

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class PackedPrompts:
    """Prompts laid end to end.

    Attributes:
        embeds: TxW input embeddings.
        position_ids: T int64.
        rows, columns: T int64, each token's prompt and its place there, the prefix not counted.
        num_rows: N.
        width: S.
        read: R int64, which of the T tokens' last hidden states are wanted, prompt by prompt.
        read_slots: R int64, each one's number among those of its prompt.
        num_slots: the most that one prompt wants.
        branches: T int64 or None: 0 for what all see, else the branch that only itself sees.
    """

    embeds: Tensor
    position_ids: Tensor
    rows: Tensor
    columns: Tensor
    num_rows: int
    width: int
    read: Tensor
    read_slots: Tensor
    num_slots: int
    branches: Tensor | None = None


class PackedLlama:
    """Runs a `LlamaModel` on packed prompts."""

    def __init__(self, llm: LlamaModel) -> None:
        self._llm = llm
        config = llm.config
        self._heads, self._kv_heads = config.num_attention_heads, config.num_key_value_heads

    def prefix(self, input_ids: Tensor) -> list[KeysValues]:
        """Every layer's keys and values, PxKxD, of P token ids that all prompts begin with."""
        hidden = self._llm.embed_tokens(input_ids)
        positions = torch.arange(len(input_ids), device=hidden.device)
        cos, sin = self._rotary(hidden, positions)
        mask = torch.ones(len(input_ids), len(input_ids), dtype=torch.bool, device=hidden.device).tril()
        found: list[KeysValues] = []
        for layer in self._layers():
            normed = layer.input_layernorm(hidden)
            keys, values = self._keys_values(layer, normed, cos, sin)
            found.append((keys, values))
            queries = self._queries(layer, normed, cos, sin)
            attended = self._attend(queries[None], keys[None], values[None], mask)[0]
            hidden = self._finish(layer, hidden, attended)
        return found

    def __call__(self, prompts: PackedPrompts, prefix: list[KeysValues]) -> Tensor:
        """The last hidden states that are wanted, RxW, after the final norm.

        Args:
            prompts: what comes after the prefix.
            prefix: of the tokens that all of them begin with.
        """
        return self.resume(prompts.embeds, prompts, prefix, 0)

    def resume(self, hidden: Tensor, prompts: PackedPrompts, prefix: list[KeysValues], start: int) -> Tensor:
        """The same from the hidden states TxW that layer `start` reads, at most the last one."""
        hidden = self.advance(hidden, prompts, prefix, start, self.num_layers - 1)
        cos, sin = self._rotary(hidden, prompts.position_ids)
        return self._llm.norm(self._last(self._layers()[-1], hidden, prompts, prefix[-1], cos, sin))

    def advance(
        self, hidden: Tensor, prompts: PackedPrompts, prefix: list[KeysValues], start: int, stop: int
    ) -> Tensor:
        """Hidden states TxW after the layers from `start` up to, but without, `stop`."""
        cos, sin = self._rotary(hidden, prompts.position_ids)
        mask = self._mask(prompts, len(prefix[0][0]))
        for layer, before in zip(self._layers()[start:stop], prefix[start:stop], strict=True):
            normed = layer.input_layernorm(hidden)
            keys, values = (
                _padded(part, prompts, common)
                for part, common in zip(self._keys_values(layer, normed, cos, sin), before, strict=True)
            )
            queries = _padded(self._queries(layer, normed, cos, sin), prompts)
            attended = self._attend(queries, keys, values, mask)[prompts.rows, prompts.columns]
            hidden = self._finish(layer, hidden, attended)
        return hidden

    def attention(self, hidden: Tensor, prompts: PackedPrompts, prefix: list[KeysValues], index: int) -> Tensor:
        """What the positions that are read pay to the prefix and their prompt in one layer, NxHxQx(P+S) float32.

        The layer's own attention is fused and yields no weights; these few rows are computed beside it.

        Args:
            hidden: TxW, what the layer reads.
            prompts: of which Q positions each are read; rows of padding are of no meaning.
            prefix: of the tokens that all of them begin with.
            index: the layer.
        """
        layer, before = self._layers()[index], prefix[index]
        normed = layer.input_layernorm(hidden)
        cos, sin = self._rotary(hidden, prompts.position_ids)
        keys = _padded(self._keys_values(layer, normed, cos, sin)[0], prompts, before[0])
        queries = self._read_queries(layer, normed, prompts, cos, sin)
        keys = keys.repeat_interleave(queries.shape[2] // keys.shape[2], dim=2)
        logits = torch.einsum("nqhd,nshd->nhqs", queries.float(), keys.float()) / math.sqrt(keys.shape[-1])
        return logits.masked_fill(~_read_mask(prompts, len(before[0])), float("-inf")).softmax(-1)

    def _last(
        self,
        layer: LlamaDecoderLayer,
        hidden: Tensor,
        prompts: PackedPrompts,
        before: KeysValues,
        cos: Tensor,
        sin: Tensor,
    ) -> Tensor:
        """The last layer's output where it is read, RxW: keys and values everywhere, all the rest only there."""
        normed, read = layer.input_layernorm(hidden), prompts.read
        keys, values = (
            _padded(part, prompts, common)
            for part, common in zip(self._keys_values(layer, normed, cos, sin), before, strict=True)
        )
        queries = self._read_queries(layer, normed, prompts, cos, sin)
        attended = self._attend(queries, keys, values, _read_mask(prompts, len(before[0])))
        return self._finish(layer, hidden[read], attended[prompts.rows[read], prompts.read_slots])

    def _read_queries(
        self, layer: LlamaDecoderLayer, normed: Tensor, prompts: PackedPrompts, cos: Tensor, sin: Tensor
    ) -> Tensor:
        """Queries of the positions that are read, NxQxHxD."""
        read = prompts.read
        found = self._queries(layer, normed[read], cos[read], sin[read])
        queries = found.new_zeros(prompts.num_rows, prompts.num_slots, *found.shape[1:])
        queries[prompts.rows[read], prompts.read_slots] = found
        return queries

    @property
    def num_layers(self) -> int:
        return len(self._llm.layers)

    def _layers(self) -> list[LlamaDecoderLayer]:
        return cast(list[LlamaDecoderLayer], list(self._llm.layers))

    def _rotary(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = self._llm.rotary_emb(hidden[None], positions[None])
        return cos[0][:, None], sin[0][:, None]

    def _queries(self, layer: LlamaDecoderLayer, normed: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return _rotated(layer.self_attn.q_proj(normed).unflatten(-1, (self._heads, -1)), cos, sin)

    def _keys_values(self, layer: LlamaDecoderLayer, normed: Tensor, cos: Tensor, sin: Tensor) -> KeysValues:
        keys, values = (
            project(normed).unflatten(-1, (self._kv_heads, -1))
            for project in (layer.self_attn.k_proj, layer.self_attn.v_proj)
        )
        return _rotated(keys, cos, sin), values

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """NxSxHxD of queries NxSxHxD, keys and values Nx(P+S)xKxD."""
        return F.scaled_dot_product_attention(
            queries.transpose(1, 2),
            keys.transpose(1, 2),
            values.transpose(1, 2),
            attn_mask=mask,
            enable_gqa=self._heads != self._kv_heads,
        ).transpose(1, 2)

    def _finish(self, layer: LlamaDecoderLayer, hidden: Tensor, attended: Tensor) -> Tensor:
        """What follows attention: its output projection, and the MLP."""
        hidden = hidden + layer.self_attn.o_proj(attended.flatten(-2))
        return hidden + layer.mlp(layer.post_attention_layernorm(hidden))

    def _mask(self, prompts: PackedPrompts, num_prefix: int) -> Tensor:
        """Which of the prefix and its own prompt each token sees; padding lies to the right, where nobody looks."""
        if prompts.branches is not None:
            return _tree_mask(prompts, num_prefix)
        if prompts.embeds.is_cuda:
            return causal_lower_right(prompts.width, num_prefix + prompts.width)
        ones = torch.ones(prompts.width, num_prefix + prompts.width, dtype=torch.bool, device=prompts.embeds.device)
        return ones.tril(num_prefix)


def _rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return heads * cos + rotate_half(heads) * sin


def _padded(packed: Tensor, prompts: PackedPrompts, prefix: Tensor | None = None) -> Tensor:
    """Packed TxKxD to one row per prompt, NxSxKxD, behind the common prefix if there is one."""
    before = 0 if prefix is None else len(prefix)
    rows = packed.new_zeros(prompts.num_rows, before + prompts.width, *packed.shape[1:])
    if prefix is not None:
        rows[:, :before] = prefix
    rows[prompts.rows, prompts.columns + before] = packed
    return rows


def _tree_mask(prompts: PackedPrompts, num_prefix: int) -> Tensor:
    """Nx1xSx(P+S) bool: a token sees the prefix, what all see before it, and what its own branch holds before it."""
    branches = torch.zeros(prompts.num_rows, prompts.width, dtype=torch.int64, device=prompts.embeds.device)
    assert prompts.branches is not None
    branches[prompts.rows, prompts.columns] = prompts.branches
    index = torch.arange(prompts.width, device=branches.device)
    same = (branches[:, :, None] == branches[:, None, :]) | (branches[:, None, :] == 0)
    own = same & (index[:, None] >= index)
    return F.pad(own, (num_prefix, 0), value=True)[:, None]


def _read_mask(prompts: PackedPrompts, num_prefix: int) -> Tensor:
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
