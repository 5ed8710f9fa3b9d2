"""Similarity alone, either way round: the ablation of arXiv 2605.13178 (low against high)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.registry import TEXT, rule
from litelvlm.rules.selection import Selection, ranks

if TYPE_CHECKING:
    from torch import Tensor


def masked_ranks(scores_BPV: Tensor, phrase_mask_BP: Tensor) -> Tensor:
    """Ranks per phrase; those of phrases that are not real are V, larger than any."""
    return ranks(scores_BPV).masked_fill(~phrase_mask_BP[..., None], scores_BPV.shape[-1])


def take_turns(scores_BPV: Tensor, phrase_mask_BP: Tensor) -> Tensor:
    """BxV int64, the place of each token when the phrases choose in turn, each its lowest score that is left.

    Within a turn the lower index goes first.
    """
    return ranks(masked_ranks(scores_BPV, phrase_mask_BP).amin(1))


@rule(
    place=5,
    keeps="least similar, the phrases taking turns",
    needs=TEXT,
)
def low_similarity(evidence: Evidence, budget: int) -> Selection:
    """The least similar, the phrases taking turns."""
    kept = take_turns(evidence.need("similarity"), evidence.need("phrase_mask")) < budget
    return Selection(kept, kept, budget)


@rule(
    place=4,
    keeps="most similar, the phrases taking turns",
    needs=TEXT,
)
def high_similarity(evidence: Evidence, budget: int) -> Selection:
    """The most similar, the phrases taking turns."""
    kept = take_turns(-evidence.need("similarity"), evidence.need("phrase_mask")) < budget
    return Selection(kept, kept, budget)
