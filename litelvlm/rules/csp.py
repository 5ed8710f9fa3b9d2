"""LVLM-CSP: cluster, scatter, prune (arXiv 2504.10854), as far as it can be decided before the language model."""

from __future__ import annotations

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.registry import rule
from litelvlm.rules.selection import Selection, highest, keep, ranks


@rule(
    place=15,
    keeps="half by attention of `[CLS]` as cluster centres, half of their clusters' members in turns",
    needs=("attention", "patches"),
)
def csp(evidence: Evidence, budget: int) -> Selection:
    """Centres of clusters, and of every cluster as many members; raster order.

    Cluster: the R - R // 2 tokens that `[CLS]` attends to most are centres, every other token belongs to the centre
    with the highest cosine. Scatter: members come back in turns, the one of each cluster with the highest attention
    first, then the second ones. Prune: what is beyond R goes; of the last turn those with the highest attention stay.
    """
    import torch
    from torch.nn import functional as F

    attention, patches = evidence.need("attention"), F.normalize(evidence.need("patches"), dim=-1)
    centre = highest(attention, budget - budget // 2)
    cosine = patches @ patches.transpose(1, 2)
    cluster = cosine.masked_fill(~centre[:, None], float("-inf")).argmax(-1)
    place = ranks(-attention)
    is_before = (cluster[:, :, None] == cluster[:, None]) & (place[:, None] < place[:, :, None]) & ~centre[:, None]
    turn = is_before.sum(-1)  # members of the same cluster that come back earlier
    num_tokens = attention.shape[-1]
    order = (turn * num_tokens + place).masked_fill(centre, -1)
    return keep(ranks(torch.where(centre, place - num_tokens, order)) < budget, budget)
