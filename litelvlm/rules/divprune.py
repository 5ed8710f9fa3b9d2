"""DivPrune: tokens as far from each other as can be.

arXiv 2503.02175; vbdi/divprune, `LLaVA/llava/model/llava_arch.py` (`DivPrune`).
"""

from __future__ import annotations

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.registry import rule
from litelvlm.rules.selection import Selection, keep


@rule(
    place=11,
    keeps="greedily the farthest from each other",
    needs=("projected",),
)
def divprune(evidence: Evidence, budget: int) -> Selection:
    """Greedy max-min of the cosine distance between tokens as the language model reads them; raster order.

    First the token whose nearest neighbour is the farthest, then again and again the one whose nearest kept token is
    the farthest. Differs from the repository in that a token is never taken twice, which can happen there among equal
    ones. It takes R steps one after another, all images at once.
    """
    import torch
    from torch.nn import functional as F

    tokens = F.normalize(evidence.need("projected"), dim=-1)
    distance = 1 - tokens @ tokens.transpose(1, 2)
    # Two tokens that are each other's nearest are a tie, which rounding must not break one way in one batch and another
    # way in the next: products of the same pair in two orders may differ in their last bit.
    distance = torch.maximum(distance, distance.transpose(1, 2))
    num_tokens = distance.shape[-1]
    nearest = distance.topk(min(2, num_tokens), dim=1, largest=False).values[:, -1]
    kept = torch.zeros_like(nearest, dtype=torch.bool)
    for step in range(budget):
        farthest = nearest.argmax(-1, keepdim=True)
        kept = kept.scatter(1, farthest, True)
        own = distance.gather(1, farthest[..., None].expand(-1, -1, num_tokens))[:, 0]
        nearest = (own if step == 0 else torch.minimum(nearest, own)).masked_fill(kept, float("-inf"))
    return keep(kept, budget)
