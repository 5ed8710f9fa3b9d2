"""FastV: visual tokens are dropped inside the language model, after its first layers have read all of them.

arXiv 2403.06764; pkunlp-icler/FastV, `models/llama/modeling_llama.py` (token drop, in place). After layer K the R
visual tokens stay to which the last token pays the most attention in that layer, the mean over heads; they keep their
order and their position ids. Here the last token is the one just before `[SEG]`, which is read; of several the sum
counts.

The repository has every layer return its attention weights, which no fused kernel does: at 192 of 576 tokens its
prefill is no faster than the unpruned one (162.88 against 166.25 ms, arXiv 2605.13178). Here all attention stays fused,
and what FastV costs beside it is layer K's keys once more and as many rows of its attention as positions are read.

Shapes: N prompts, V visual tokens, R of them kept, T tokens of all prompts together, W the width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from litelvlm.packed_llama import PackedLlama
from litelvlm.packed_prompts import KeysValues, PackedPrompts
from litelvlm.rules.selection import highest


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """Where FastV stands after its first layers.

    Attributes:
        hidden: TxW.
        kept: NxR int64, the visual tokens that stay, in raster order.
        layer: the layer that comes next.
    """

    hidden: Tensor
    kept: Tensor
    layer: int


def scan(
    llama: PackedLlama, prompts: PackedPrompts, prefix: list[KeysValues], *, num_visual: int, budget: int, layer: int
) -> Scanned:
    """Runs the first `layer` layers on all tokens, at most all but the last, and says which visual tokens stay.

    Raises:
        ValueError: if the language model has a single layer.
    """
    if llama.num_layers < 2:
        raise ValueError("rule: fastv needs a language model of at least two layers")
    layer = min(layer, llama.num_layers - 1)
    hidden = llama.advance(prompts.embeds, prompts, prefix, 0, layer - 1)
    start = len(prefix[0][0])
    # Slots that hold no position of their prompt see the first token alone, so that they add nothing.
    received = llama.attention(hidden, prompts, prefix, layer - 1)[..., start : start + num_visual].sum((1, 2))
    kept = highest(received, budget).logical_not().long().argsort(dim=-1, stable=True)[:, :budget]
    return Scanned(hidden=llama.advance(hidden, prompts, prefix, layer - 1, layer), kept=kept, layer=layer)


def finish(
    llama: PackedLlama,
    scanned: Scanned,
    pruned: PackedPrompts,
    prefix: list[KeysValues],
    *,
    whole_visual: Tensor,
    whole_text: Tensor,
    visual: Tensor,
    text: Tensor,
) -> Tensor:
    """The wanted hidden states, as `PackedLlama` gives them, from the remaining layers on the kept tokens.

    Args:
        llama: the language model.
        scanned: what its first layers gave.
        pruned: the prompts with the kept tokens only; their embeddings are not looked at.
        prefix: of the tokens that all of them begin with.
        whole_visual, whole_text: places of visual tokens and of text among all tokens.
        visual, text: their places among those that remain.
    """
    hidden = scanned.hidden.new_empty(len(visual) + len(text), scanned.hidden.shape[-1])
    hidden[visual] = scanned.hidden[whole_visual.view(len(scanned.kept), -1).gather(1, scanned.kept).flatten()]
    hidden[text] = scanned.hidden[whole_text]
    return llama.resume(hidden, replace(pruned, embeds=hidden), prefix, scanned.layer)
