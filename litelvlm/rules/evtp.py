"""EVTP: centres that cover the tokens in features and in space (arXiv 2508.11886)."""

from __future__ import annotations

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.grid import distances
from litelvlm.rules.registry import rule
from litelvlm.rules.selection import Selection, keep


@rule(
    place=14,
    keeps="greedy k-centre on features and space, from the best context",
    needs=("patches",),
)
def evtp(evidence: Evidence, budget: int) -> Selection:
    """Farthest-first traversal (greedy k-centre); raster order.

    The distance of two tokens is their cosine distance plus their distance on the grid as a share of its diagonal. It
    starts with the token of the best context, and takes R steps one after another, all images at once.
    """
    import torch
    from torch.nn import functional as F

    patches = F.normalize(evidence.need("patches"), dim=-1)
    cosine = patches @ patches.transpose(1, 2)
    # The same pair in two orders may differ in its last bit, which must not decide a tie.
    distance = 1 - torch.minimum(cosine, cosine.transpose(1, 2)) + distances(cosine.shape[-1], cosine)
    num_tokens = distance.shape[-1]
    farthest = evidence.context.argmax(-1, keepdim=True)
    nearest = torch.full_like(distance[:, 0], float("inf"))
    kept = torch.zeros_like(nearest, dtype=torch.bool)
    for _ in range(budget):
        kept = kept.scatter(1, farthest, True)
        own = distance.gather(1, farthest[..., None].expand(-1, -1, num_tokens))[:, 0]
        nearest = torch.minimum(nearest, own).masked_fill(kept, float("-inf"))
        farthest = nearest.argmax(-1, keepdim=True)
    return keep(kept, budget)
