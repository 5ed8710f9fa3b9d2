"""Pruning rules: pure functions from scores to the indices of the visual tokens that stay.

Shapes: B rows (an image, or an image with one of its phrases), P phrases, V visual tokens, R tokens kept.
Every rule takes `similarity` BxPxV, `context` BxV and a mask of the real phrases BxP, and returns a `Selection`:
which tokens stay (exactly R of each row), and which of these were chosen by similarity. Ties go to the lower index.

| rule | tokens kept |
|---|---|
| `release` | union over phrases of the R // N least similar of each, then best context until R |
| `paper` | intersection over phrases of the R least similar of each (N = 1: the R // 2 least similar), then likewise |
| `low_similarity` | least similar, the phrases taking turns |
| `high_similarity` | most similar, the phrases taking turns (what TRIM keeps) |
| `context` | best context |
| `random` | R at random, by seed and image |

`release` is the published code (sejong-rcv/LiteLVLM), `paper` is the text of arXiv 2605.13178, section "adaptive token
selection"; the two differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from litelvlm.config import RULES, PruningConfig

__all__ = ["RULES", "Selection", "context_scores", "order_tokens", "select_tokens", "similarity_scores"]


class Selection(NamedTuple):
    """Which tokens stay.

    Attributes:
        kept: BxV bool, exactly R true in each row.
        by_similarity: BxV bool, the part of `kept` that was chosen by similarity.
    """

    kept: Tensor
    by_similarity: Tensor


def similarity_scores(visual_BVE: Tensor, text_BPE: Tensor) -> Tensor:
    """s = E_v . E_t, neither of them normalised; BxPxV float32."""
    return torch.einsum("bve,bpe->bpv", visual_BVE.float(), text_BPE.float())


def context_scores(query_BD: Tensor, key_BVD: Tensor, value_BVD: Tensor) -> Tensor:
    """score_i = || softmax_i(q . k_i / sqrt(D)) * v_i ||_2; BxV float32.

    q is the `[CLS]` query, k and v are the patches' keys and values of CLIP's last block, over the full width D and not
    per head; q and k are L2-normalised first, as in the release.
    """
    query = F.normalize(query_BD.float(), dim=-1)
    key = F.normalize(key_BVD.float(), dim=-1)
    logits = torch.einsum("bd,bvd->bv", query, key) / math.sqrt(query.shape[-1])
    return logits.softmax(-1) * value_BVD.float().norm(dim=-1)


def select_tokens(
    similarity_BPV: Tensor,
    context_BV: Tensor,
    pruning: PruningConfig,
    *,
    phrase_mask_BP: Tensor | None = None,
    image_seeds: list[int] | None = None,
) -> Selection:
    """Applies a rule.

    Args:
        similarity_BPV: similarity of each token to each phrase.
        context_BV: context score of each token.
        pruning: rule and budget.
        phrase_mask_BP: true where a phrase is real; None if all are.
        image_seeds: for the rule `random`, a number per row that stands for the image's content.
    """
    num_tokens = context_BV.shape[-1]
    budget = pruning.budget(num_tokens)
    if pruning.is_unpruned(num_tokens):
        kept = torch.ones_like(context_BV, dtype=torch.bool)
        return Selection(kept, torch.zeros_like(kept))
    if phrase_mask_BP is None:
        phrase_mask_BP = torch.ones(similarity_BPV.shape[:2], dtype=torch.bool, device=similarity_BPV.device)
    if pruning.rule == "random":
        seeds = image_seeds if image_seeds is not None else [0] * len(context_BV)
        return _random(context_BV, budget, pruning.seed, seeds)
    return _SCORED_RULES[pruning.rule](similarity_BPV, context_BV, phrase_mask_BP, budget)


def order_tokens(selection: Selection, context_BV: Tensor, *, release_order: bool) -> Tensor:
    """Indices of the kept tokens in the order in which the language model gets them, BxR int64.

    Release order is context tokens by rank, then similarity tokens by index; otherwise raster order.
    """
    num_tokens = context_BV.shape[-1]
    raster = torch.arange(num_tokens, device=context_BV.device).expand_as(context_BV)
    key = raster
    if release_order:
        key = torch.where(selection.by_similarity, num_tokens + raster, _ranks(-context_BV))
    key = torch.where(selection.kept, key, 2 * num_tokens + raster)
    budget = int(selection.kept[0].sum())
    return key.argsort(dim=-1)[:, :budget]


def _ranks(scores: Tensor) -> Tensor:
    """Rank of each score along the last axis, 0 for the lowest; ties go to the lower index."""
    return scores.argsort(dim=-1, stable=True).argsort(dim=-1)


def _masked_ranks(scores_BPV: Tensor, phrase_mask_BP: Tensor) -> Tensor:
    """Ranks per phrase; those of phrases that are not real are V, larger than any."""
    return _ranks(scores_BPV).masked_fill(~phrase_mask_BP[..., None], scores_BPV.shape[-1])


def _fill_with_context(by_similarity: Tensor, context_BV: Tensor, budget: int) -> Selection:
    """Adds the best-ranked context tokens that are not yet kept, until each row keeps `budget`."""
    key = _ranks(-context_BV).masked_fill(by_similarity, -1)
    return Selection(_ranks(key) < budget, by_similarity)


def _release(similarity: Tensor, context: Tensor, phrase_mask: Tensor, budget: int) -> Selection:
    share = budget // phrase_mask.sum(-1).clamp(min=1)
    chosen = (_masked_ranks(similarity, phrase_mask) < share[:, None, None]).any(1)
    return _fill_with_context(chosen, context, budget)


def _paper(similarity: Tensor, context: Tensor, phrase_mask: Tensor, budget: int) -> Selection:
    count = torch.where(phrase_mask.sum(-1) > 1, budget, budget // 2)
    among_lowest = _ranks(similarity) < count[:, None, None]
    chosen = (among_lowest | ~phrase_mask[..., None]).all(1) & phrase_mask.any(1, keepdim=True)
    return _fill_with_context(chosen, context, budget)


def _low_similarity(similarity: Tensor, context: Tensor, phrase_mask: Tensor, budget: int) -> Selection:
    kept = _ranks(_masked_ranks(similarity, phrase_mask).amin(1)) < budget
    return Selection(kept, kept)


def _high_similarity(similarity: Tensor, context: Tensor, phrase_mask: Tensor, budget: int) -> Selection:
    return _low_similarity(-similarity, context, phrase_mask, budget)


def _context(similarity: Tensor, context: Tensor, phrase_mask: Tensor, budget: int) -> Selection:
    return _fill_with_context(torch.zeros_like(context, dtype=torch.bool), context, budget)


def _random(context: Tensor, budget: int, seed: int, image_seeds: list[int]) -> Selection:
    kept = torch.zeros(context.shape, dtype=torch.bool)
    for row, image_seed in enumerate(image_seeds):
        order = np.random.default_rng([seed, image_seed]).permutation(context.shape[-1])
        kept[row, torch.from_numpy(order[:budget])] = True
    kept = kept.to(context.device)
    return Selection(kept, torch.zeros_like(kept))


_SCORED_RULES: dict[str, Callable[[Tensor, Tensor, Tensor, int], Selection]] = {
    "release": _release,
    "paper": _paper,
    "low_similarity": _low_similarity,
    "high_similarity": _high_similarity,
    "context": _context,
}
