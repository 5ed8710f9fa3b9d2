"""ALTP: tokens of every region, and more of those with more detail (arXiv 2503.23959)."""

from __future__ import annotations

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.grid import neighbourhoods
from litelvlm.rules.registry import rule
from litelvlm.rules.selection import Selection, highest, keep

_SHARE = 4  # regions are a quarter of the budget


@rule(
    place=16,
    keeps="of every region the most distinct, and more of regions by the density of their detail",
    needs=("patches",),
)
def altp(evidence: Evidence, budget: int) -> Selection:
    """Regions of equal size, each with one token at least and the rest in proportion to its detail; raster order.

    Regions are R / 4 runs of the Z-order curve of the grid. A token is as distinct as the sum of its cosine distances
    to the others of its region; a region's detail is the sum of that. Places are dealt out by d'Hondt's method: of the
    j-th most distinct token of a region, from 0, the region's detail is divided by j + 1, and the highest stay.
    """
    import torch
    from torch.nn import functional as F

    patches = F.normalize(evidence.need("patches"), dim=-1)
    num_tokens = patches.shape[1]
    region = neighbourhoods(num_tokens, max(1, budget // _SHARE), patches)
    same = region[:, None] == region
    cosine = patches @ patches.transpose(1, 2)
    # The same pair in two orders may differ in its last bit, which must not decide a tie.
    distance = 1 - torch.minimum(cosine, cosine.transpose(1, 2))
    distinct = (distance * same).masked_fill(torch.eye(num_tokens, dtype=torch.bool, device=patches.device), 0).sum(-1)
    detail = distinct @ same.to(patches.dtype)
    index = torch.arange(num_tokens, device=patches.device)
    ahead = (distinct[:, None] > distinct[:, :, None]) | (
        (distinct[:, None] == distinct[:, :, None]) & (index[None] < index[:, None])
    )
    number = (ahead & same).sum(-1)
    return keep(highest((detail / (number + 1)).masked_fill(number == 0, float("inf")), budget), budget)
