"""From scores to the visual tokens that stay, for callers that have no engine around them; see `litelvlm.rules`."""

from __future__ import annotations

import torch
from torch import Tensor

from litelvlm.config import PruningConfig
from litelvlm.rules import RULE_BOOK
from litelvlm.rules.evidence import Evidence
from litelvlm.rules.selection import Selection, keep


def select_tokens(
    similarity_BPV: Tensor,
    context_BV: Tensor,
    pruning: PruningConfig,
    *,
    phrase_mask_BP: Tensor | None = None,
    image_seeds: list[int] | None = None,
) -> Selection:
    """Applies a rule that needs no more than similarity and context.

    Args:
        similarity_BPV: similarity of each token to each phrase.
        context_BV: context score of each token.
        pruning: rule and budget.
        phrase_mask_BP: true where a phrase is real; None if all are.
        image_seeds: for the rule `random`, a number per row that stands for the image's content.
    """
    if phrase_mask_BP is None:
        phrase_mask_BP = torch.ones(similarity_BPV.shape[:2], dtype=torch.bool, device=similarity_BPV.device)
    evidence = Evidence(
        context=context_BV, similarity=similarity_BPV, phrase_mask=phrase_mask_BP, seeds=image_seeds, seed=pruning.seed
    )
    return select(evidence, pruning)


def select(evidence: Evidence, pruning: PruningConfig) -> Selection:
    """Applies any rule to the evidence that it needs."""
    num_tokens = evidence.context.shape[-1]
    if pruning.is_unpruned(num_tokens):
        return keep(torch.ones_like(evidence.context, dtype=torch.bool), num_tokens)
    rule = RULE_BOOK[pruning.rule].select
    if rule is None:
        raise ValueError(f"rule: {pruning.rule} is decided inside the language model, not from evidence")
    return rule(evidence, pruning.budget(num_tokens))
