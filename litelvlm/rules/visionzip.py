"""VisionZip: the tokens that `[CLS]` attends to, and a few that the others are merged into.

arXiv 2412.04467; dvlab-research/VisionZip, `visionzip/clip_encoder.py` and `visionzip/utils.py`.
"""

from __future__ import annotations

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.registry import rule
from litelvlm.rules.selection import Selection, highest, identity, keep

# The repository's budgets are 54 dominant and 10 contextual tokens, 108 and 20, 162 and 30.
_CONTEXTUAL, _OF = 10, 64


@rule(
    place=8,
    keeps="the tokens that `[CLS]` attends to most, and a few that all others are merged into",
    needs=("attention", "keys"),
    merges=True,
    order="dominant, then contextual, each raster",
)
def visionzip(evidence: Evidence, budget: int) -> Selection:
    """Dominant tokens in raster order, then contextual ones.

    Dominant are those that `[CLS]` attends to most in layer -2. Of the others every n-th becomes a target, and each of
    the rest is added to the target whose key is the most alike (cosine, keys of layer -2 averaged over heads): a
    contextual token is its target's features plus the mean of what was assigned to it.

    Differs from the repository in that `[CLS]` itself is not kept, which GLaMM's projector never saw; a patch takes its
    place. Budgets below 7 have no contextual token.
    """
    import torch
    from torch.nn import functional as F

    contextual = budget * _CONTEXTUAL // _OF
    dominant = highest(evidence.need("attention"), budget - contextual)
    if not contextual:
        return keep(dominant, budget)
    num_tokens = dominant.shape[-1]
    num_left = num_tokens - budget + contextual
    left = dominant.long().argsort(dim=-1, stable=True)[:, :num_left]
    targets = left[:, :: max(1, num_left // contextual)][:, :contextual]
    target = torch.zeros_like(dominant).scatter(1, targets, True)
    keys = F.normalize(evidence.need("keys"), dim=-1)
    alike = keys @ keys.gather(1, targets[..., None].expand(-1, -1, keys.shape[-1])).transpose(1, 2)
    assigned = torch.zeros_like(alike).scatter(2, alike.argmax(-1, keepdim=True), 1.0)
    assigned = assigned.masked_fill((dominant | target)[..., None], 0.0)
    shares = (assigned / assigned.sum(1, keepdim=True).clamp(min=1)).transpose(1, 2)
    merge = identity(evidence.context).to(keys.dtype).repeat(len(keys), 1, 1)
    merge.scatter_add_(1, targets[..., None].expand(-1, -1, num_tokens), shares)
    raster = torch.arange(num_tokens, device=keys.device)
    kept = dominant | target
    return Selection(kept, torch.zeros_like(kept), budget, raster + num_tokens * target, merge)
