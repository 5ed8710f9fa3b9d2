"""LLaMA's forward pass over packed prompts: no padding in any linear layer, the common prefix computed once, and in the
last layer nothing but the hidden states that are read. The weights are those of transformers' `LlamaModel`.

Shapes: N prompts of T tokens together after their common prefix of P tokens, S the longest of them, R hidden states to
read, W the width, H heads and K key-value heads of size D.
"""

from __future__ import annotations

import functools
import math
from typing import cast

import torch
from torch import Tensor
from transformers import LlamaModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from litelvlm.compiled_steps import CompiledSteps
from litelvlm.llama_attention import attend_rows, padded, padded_attention, read_mask, stretched_attention
from litelvlm.llama_products import LayerProducts, layer_products
from litelvlm.llama_steps import PlainSteps, Steps, rotated
from litelvlm.packed_prompts import Attend, KeysValues, PackedPrompts

_PLAIN = PlainSteps()


class PackedLlama:
    """Runs a `LlamaModel` on packed prompts.

    Args:
        llm: its weights; they may be moved or replaced until the first call.
        kind: of `litelvlm.formulation.LLAMA_KINDS`.
    """

    def __init__(self, llm: LlamaModel, kind: str = "padded") -> None:
        self._llm, self.kind = llm, kind
        config = llm.config
        self._heads, self._kv_heads = config.num_attention_heads, cast(int, config.num_key_value_heads)

    @functools.cached_property
    def _layers(self) -> list[LayerProducts]:
        return [layer_products(layer) for layer in cast(list[LlamaDecoderLayer], list(self._llm.layers))]

    @functools.cached_property
    def _steps(self) -> Steps:
        if self.kind == "compiled":
            return CompiledSteps()
        if self.kind != "kernels":
            return _PLAIN
        from litelvlm.llama_kernels import KernelSteps  # Triton comes with PyTorch's CUDA builds only

        return KernelSteps(rounds=all(layer.takes_rows for layer in self._layers))

    @property
    def num_layers(self) -> int:
        return len(self._llm.layers)

    def prefix(self, input_ids: Tensor) -> list[KeysValues]:
        """Every layer's keys and values, PxKxD, of P token ids that all prompts begin with."""
        hidden = self._llm.embed_tokens(input_ids)
        positions = torch.arange(len(input_ids), device=hidden.device)
        mask = torch.ones(len(input_ids), len(input_ids), dtype=torch.bool, device=hidden.device).tril()
        found: list[KeysValues] = []

        def attend(queries: Tensor, keys: Tensor, values: Tensor, before: KeysValues) -> Tensor:
            found.append((keys.clone(), values.clone()))  # what they are part of need not stay in memory
            return attend_rows(queries[None], keys[None], values[None], mask)[0]

        nothing = hidden.new_empty(0, self._kv_heads, 0)
        self._run(hidden, positions, attend, [(nothing, nothing)] * self.num_layers, 0)
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
        return self._llm.norm(self._last(hidden, prompts, prefix[-1]))

    def advance(
        self, hidden: Tensor, prompts: PackedPrompts, prefix: list[KeysValues], start: int, stop: int
    ) -> Tensor:
        """Hidden states TxW after the layers from `start` up to, but without, `stop`."""
        if start == stop:
            return hidden
        attend = self._attention_among(prompts, len(prefix[0][0]))
        return self._run(hidden, prompts.position_ids, attend, prefix[start:stop], start)

    def attention(self, hidden: Tensor, prompts: PackedPrompts, prefix: list[KeysValues], index: int) -> Tensor:
        """What the positions that are read pay to the prefix and their prompt in one layer, NxHxQx(P+S) float32.

        The layer's own attention is fused and yields no weights; these few rows are computed beside it.

        Args:
            hidden: TxW, what the layer reads.
            prompts: of which Q positions each are read; rows of padding are of no meaning.
            prefix: of the tokens that all of them begin with.
            index: the layer.
        """
        queries, keys, _ = self._read_heads(self._layers[index], hidden, prompts, prefix[index])
        keys = keys.repeat_interleave(queries.shape[2] // keys.shape[2], dim=2)
        logits = torch.einsum("nqhd,nshd->nhqs", queries.float(), keys.float()) / math.sqrt(keys.shape[-1])
        return logits.masked_fill(~read_mask(prompts, len(prefix[index][0])), float("-inf")).softmax(-1)

    def _attention_among(self, prompts: PackedPrompts, num_prefix: int) -> Attend:
        if self.kind == "padded" or (self.kind == "compiled" and not prompts.embeds.is_cuda):
            return padded_attention(prompts, num_prefix)
        return stretched_attention(prompts, self._steps.merge)

    def _run(
        self, hidden: Tensor, position_ids: Tensor, attend: Attend, prefix: list[KeysValues], start: int
    ) -> Tensor:
        """Hidden states TxW after as many layers as there are of the prefix, from `start` on."""
        steps, layers = self._steps, self._layers[start : start + len(prefix)]
        cos, sin = self._rotary(hidden, position_ids)
        normed = steps.norm(hidden, layers[0].input_norm, layers[0].eps)
        for number, (layer, before) in enumerate(zip(layers, prefix, strict=True), start=1):
            heads = steps.rotate(layer.qkv(normed), cos, sin, self._heads, self._kv_heads)
            attended = layer.output(steps.given(attend(*heads, before).flatten(-2)))
            hidden, normed = steps.add_norm(hidden, attended, layer.inner_norm, layer.eps)
            added = layer.down(steps.gated(layer.gate_up(normed)))
            if number < len(layers):
                hidden, normed = steps.add_norm(hidden, added, layers[number].input_norm, layer.eps)
            else:
                hidden = hidden + added
        return hidden

    def _last(self, hidden: Tensor, prompts: PackedPrompts, before: KeysValues) -> Tensor:
        """The last layer's output where it is read, RxW: keys and values everywhere, all the rest only there."""
        layer, read = self._layers[-1], prompts.read
        queries, keys, values = self._read_heads(layer, hidden, prompts, before)
        attended = attend_rows(queries, keys, values, read_mask(prompts, len(before[0])))
        output = layer.output(attended[prompts.rows[read], prompts.read_slots].flatten(-2))
        hidden, normed = _PLAIN.add_norm(hidden[read], output, layer.inner_norm, layer.eps)
        return hidden + layer.down(_PLAIN.gated(layer.gate_up(normed)))

    def _read_heads(
        self, layer: LayerProducts, hidden: Tensor, prompts: PackedPrompts, before: KeysValues
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries NxQxHxD of the positions that are read; keys and values Nx(P+S)xKxD of all."""
        normed, read = _PLAIN.norm(hidden, layer.input_norm, layer.eps), prompts.read
        cos, sin = self._rotary(hidden, prompts.position_ids)
        keys, values = (product(normed).unflatten(-1, (self._kv_heads, -1)) for product in (layer.keys, layer.values))
        keys = padded(rotated(keys, cos, sin), prompts, before[0])
        found = rotated(layer.queries(normed[read]).unflatten(-1, (self._heads, -1)), cos[read], sin[read])
        queries = found.new_zeros(prompts.num_rows, prompts.num_slots, *found.shape[1:])
        queries[prompts.rows[read], prompts.read_slots] = found
        return queries, keys, padded(values, prompts, before[1])

    def _rotary(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines TxD of positions T."""
        cos, sin = self._llm.rotary_emb(hidden[None], positions[None])
        return cos[0], sin[0]
