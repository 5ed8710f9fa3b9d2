"""What a rule decides, and the order in which the language model gets what was kept.

Shapes: B rows (an image, or an image with one of its phrases), V visual tokens, R tokens kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Selection(NamedTuple):
    """Which tokens stay.

    Attributes:
        kept: BxV bool, exactly `budget` true in each row.
        by_similarity: BxV bool, the part of `kept` that was chosen by similarity.
        budget: R.
        sequence: BxV int64, the order of the rule's own paper: kept tokens with lower numbers go first; None is raster.
        merge: BxVxV float32, what each kept token is made of: row i holds the weights of all V patches' features
            (before the projector) in the token that stands at place i. None where tokens are what they were.
    """

    kept: Tensor
    by_similarity: Tensor
    budget: int
    sequence: Tensor | None = None
    merge: Tensor | None = None


def keep(kept_BV: Tensor, budget: int) -> Selection:
    """The selection of a rule that looks at no text."""
    import torch

    return Selection(kept_BV, torch.zeros_like(kept_BV), budget)


def ranks(scores: Tensor) -> Tensor:
    """Rank of each score along the last axis, 0 for the lowest; ties go to the lower index."""
    return scores.argsort(dim=-1, stable=True).argsort(dim=-1)


def highest(scores_BV: Tensor, count: int) -> Tensor:
    """The `count` highest of each row, BxV bool; ties go to the lower index."""
    return ranks(-scores_BV) < count


def identity(scores_BV: Tensor) -> Tensor:
    """Weights of tokens that stay what they are, VxV."""
    import torch

    return torch.eye(scores_BV.shape[-1], dtype=scores_BV.dtype, device=scores_BV.device)


def order_tokens(selection: Selection, context_BV: Tensor, *, release_order: bool, own_order: bool = False) -> Tensor:
    """Indices of the kept tokens in the order in which the language model gets them, BxR int64.

    Release order is context tokens by rank, then similarity tokens by index; own order is that of the rule's paper;
    otherwise it is raster order.
    """
    import torch

    num_tokens = context_BV.shape[-1]
    raster = torch.arange(num_tokens, device=context_BV.device).expand_as(context_BV)
    key = raster
    if release_order:
        key = torch.where(selection.by_similarity, num_tokens + raster, ranks(-context_BV))
    elif own_order and selection.sequence is not None:
        key = selection.sequence
    key = key.masked_fill(~selection.kept, torch.iinfo(key.dtype).max)
    return key.argsort(dim=-1)[:, : selection.budget]
