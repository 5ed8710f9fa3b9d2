"""Modelled operations of an answer: what a combination asks of the language model, from the model's sizes alone."""

from __future__ import annotations

from litelvlm.config import GlammConfig, PruningConfig
from litelvlm.flops import prefill_flop


def llm_tflop(
    sizes: GlammConfig, pruning: PruningConfig, *, prompts: int, text_tokens: int, expressions: int
) -> float | None:
    """1e12 operations of the language model per expression; None where there was none.

    `prompts` of equal length answered the `expressions`, with `text_tokens` in all besides the visual ones. Under a
    rule inside the language model the first layers read every visual token.
    """
    if not prompts or not expressions:
        return None
    total, text = sizes.num_visual_tokens, text_tokens // prompts
    kept = prefill_flop(sizes.llm, text + pruning.budget(total))
    if pruning.inside_llm and not pruning.is_unpruned(total):
        whole = min(pruning.fastv_layer / sizes.llm.num_hidden_layers, 1.0)
        kept = whole * prefill_flop(sizes.llm, text + total) + (1 - whole) * kept
    return kept * prompts / expressions / 1e12
