"""Nuwa: an anchor in every part of the image, into which its surroundings are aggregated (arXiv 2602.02951)."""

from __future__ import annotations

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.grid import neighbourhoods
from litelvlm.rules.registry import rule
from litelvlm.rules.selection import Selection, keep


@rule(
    place=17,
    keeps="of each of R equal parts the token that `[CLS]` attends to most, with its part's others averaged in",
    needs=("attention",),
    merges=True,
    positions="original",
)
def nuwa(evidence: Evidence, budget: int) -> Selection:
    """Separation, alignment, aggregation; raster order.

    Separation: R runs of the Z-order curve of the grid, equally long but for one token. Alignment: the token of each
    with the highest attention is its anchor. Aggregation: it becomes the mean of its run, weighted by attention.
    """
    import torch

    attention = evidence.need("attention")
    num_tokens = attention.shape[-1]
    part = neighbourhoods(num_tokens, budget, attention)
    same = part[:, None] == part
    index = torch.arange(num_tokens, device=attention.device)
    ahead = (attention[:, None] > attention[:, :, None]) | (
        (attention[:, None] == attention[:, :, None]) & (index[None] < index[:, None])
    )
    weights = attention[:, None] * same
    merge = weights / weights.sum(-1, keepdim=True)
    return keep(~(ahead & same).any(-1), budget)._replace(merge=merge)
