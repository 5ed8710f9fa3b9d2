"""VisPruner: important tokens by the attention of `[CLS]`, and diverse ones of those that are left.

arXiv 2412.01818; Theia-4869/VisPruner, `llava/model/llava_arch.py` (`encode_images`).
"""

from __future__ import annotations

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.registry import rule
from litelvlm.rules.selection import Selection, keep

_AT_A_TIME = 8


@rule(
    place=10,
    keeps="half by attention of `[CLS]`, half of the others without duplicates",
    needs=("attention", "patches"),
)
def vispruner(evidence: Evidence, budget: int) -> Selection:
    """Half of the budget by attention in layer -2, half by leaving out duplicates; raster order.

    The tokens left after the important ones, by falling attention, are dealt into two piles; each of the first pile is
    as much of a duplicate as its highest cosine to the second. The 8 worst go, the others of the first pile are put
    before the second, by falling cosine, and so on until enough are gone.

    Differs from the repository where the number left is odd, which fails there: the first pile holds one more. The
    share of important tokens is the repository's default, 0.5.
    """
    import torch
    from torch.nn import functional as F

    attention, patches = evidence.need("attention"), F.normalize(evidence.need("patches"), dim=-1)
    important = budget // 2
    diverse = budget - important
    by_rank = attention.argsort(dim=-1, descending=True, stable=True)
    cosine = patches @ patches.transpose(1, 2)
    rows = torch.arange(len(cosine), device=cosine.device)[:, None, None]
    left = by_rank[:, important:]
    while left.shape[1] > diverse:
        first, second = left[:, ::2], left[:, 1::2]
        gone = min(_AT_A_TIME, left.shape[1] - diverse, first.shape[1])
        duplicate = cosine[rows, first[:, :, None], second[:, None, :]].amax(-1)
        staying = duplicate.argsort(dim=-1, descending=True, stable=True)[:, gone:]
        left = torch.cat([first.gather(1, staying), second], dim=1)
    chosen = torch.cat([by_rank[:, :important], left], dim=1)
    return keep(torch.zeros_like(attention, dtype=torch.bool).scatter(1, chosen, True), budget)
