"""LiteLVLM's own rules, as released and as written: arXiv 2605.13178; sejong-rcv/LiteLVLM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.registry import TEXT, rule
from litelvlm.rules.selection import Selection, ranks
from litelvlm.rules.similarity import masked_ranks

if TYPE_CHECKING:
    from torch import Tensor


@rule(
    place=1,
    keeps="union over phrases of the R // N least similar of each, then best context",
    needs=TEXT,
    order="context by rank, then similarity by index",
)
def release(evidence: Evidence, budget: int) -> Selection:
    """Union over phrases of the R // N least similar of each, then best context until R."""
    similarity, phrase_mask = evidence.need("similarity"), evidence.need("phrase_mask")
    share = budget // phrase_mask.sum(-1).clamp(min=1)
    chosen = (masked_ranks(similarity, phrase_mask) < share[:, None, None]).any(1)
    return fill_with_context(chosen, evidence.context, budget)


@rule(
    place=2,
    keeps="intersection over phrases of the R (of one phrase: R // 2) least similar of each, then best context",
    needs=TEXT,
)
def paper(evidence: Evidence, budget: int) -> Selection:
    """Intersection over phrases of the R least similar of each (N = 1: the R // 2 least similar), then best context."""
    import torch

    similarity, phrase_mask = evidence.need("similarity"), evidence.need("phrase_mask")
    count = torch.where(phrase_mask.sum(-1) > 1, budget, budget // 2)
    among_lowest = ranks(similarity) < count[:, None, None]
    chosen = (among_lowest | ~phrase_mask[..., None]).all(1) & phrase_mask.any(1, keepdim=True)
    return fill_with_context(chosen, evidence.context, budget)


@rule(
    place=6,
    keeps="best context",
)
def context(evidence: Evidence, budget: int) -> Selection:
    """Best context alone, the paper's ablation."""
    import torch

    return fill_with_context(torch.zeros_like(evidence.context, dtype=torch.bool), evidence.context, budget)


def fill_with_context(by_similarity: Tensor, context_BV: Tensor, budget: int) -> Selection:
    """Adds the best-ranked context tokens that are not yet kept, until each row keeps `budget`."""
    key = ranks(-context_BV).masked_fill(by_similarity, -1)
    return Selection(ranks(key) < budget, by_similarity, budget)
