"""FastV, arXiv 2403.06764; pkunlp-icler/FastV. The language model drops the tokens itself: `litelvlm.engine.fastv`."""

from __future__ import annotations

from litelvlm.rules.registry import RULE_BOOK, Rule

RULE_BOOK["fastv"] = Rule(
    select=None,
    place=12,
    keeps="what the last token attends to most in the language model's layer K",
    needs=("llm_attention",),
)
