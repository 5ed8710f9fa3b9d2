"""PAYN: tokens by their position alone, spread over local neighbourhoods, with their original position ids.

ICML 2026, poster 60690. Neither text nor code of it was at hand beyond its summary; this is a rule of that kind.
"""

from __future__ import annotations

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.grid import z_ranks
from litelvlm.rules.registry import rule
from litelvlm.rules.selection import Selection, keep


@rule(
    place=13,
    keeps="R at equal distances along a curve through the grid, whatever they show",
    positions="original",
)
def payn(evidence: Evidence, budget: int) -> Selection:
    """The middle of each of R equal runs of the Z-order curve, so that every neighbourhood keeps its share; raster."""
    import torch

    num_tokens = evidence.context.shape[-1]
    middles = {(2 * run + 1) * num_tokens // (2 * budget) for run in range(budget)}
    kept = torch.tensor([rank in middles for rank in z_ranks(num_tokens).tolist()])
    return keep(kept.to(evidence.context.device, non_blocking=True).expand_as(evidence.context), budget)
