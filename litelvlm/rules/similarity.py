"""Similarity alone, either way round: the ablation of arXiv 2605.13178 (low against high)."""

from __future__ import annotations

from torch import Tensor

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.selection import Selection, ranks


def masked_ranks(scores_BPV: Tensor, phrase_mask_BP: Tensor) -> Tensor:
    """Ranks per phrase; those of phrases that are not real are V, larger than any."""
    return ranks(scores_BPV).masked_fill(~phrase_mask_BP[..., None], scores_BPV.shape[-1])


def take_turns(scores_BPV: Tensor, phrase_mask_BP: Tensor) -> Tensor:
    """BxV int64, the place of each token when the phrases choose in turn, each its lowest score that is left.

    Within a turn the lower index goes first.
    """
    return ranks(masked_ranks(scores_BPV, phrase_mask_BP).amin(1))


def low_similarity(evidence: Evidence, budget: int) -> Selection:
    """The least similar, the phrases taking turns."""
    kept = take_turns(evidence.need("similarity"), evidence.need("phrase_mask")) < budget
    return Selection(kept, kept, budget)


def high_similarity(evidence: Evidence, budget: int) -> Selection:
    """The most similar, the phrases taking turns."""
    kept = take_turns(-evidence.need("similarity"), evidence.need("phrase_mask")) < budget
    return Selection(kept, kept, budget)
