"""LLaVA-PruMerge: the tokens that `[CLS]` attends to, each with its neighbours folded in.

arXiv 2403.15388; 42Shawn/LLaVA-PruMerge, `llava/model/multimodal_encoder/clip_encoder.py`
(`token_prune_merge_advanced`).
"""

from __future__ import annotations

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.registry import rule
from litelvlm.rules.selection import Selection, identity, ranks

_NEIGHBOURS = 32


@rule(
    place=9,
    keeps="R - 1 that `[CLS]` attends to most, each with its 32 nearest folded in, and the rest summed up",
    needs=("last_attention", "last_keys"),
    merges=True,
    order="by attention, then the sum",
)
def prumerge(evidence: Evidence, budget: int) -> Selection:
    """The R - 1 most attended tokens by rank, then one for the others.

    Attention is that of the last layer's `[CLS]` query over its full width. To each of the R - 1 are added the 32 other
    tokens whose last-layer keys are the most alike (cosine), kept ones too, each times the attention it gets. The last
    token is the sum of all others, weighted likewise.

    Simplified: R is given where the paper cuts off at the outliers of the attention (above Q3 + 1.5 IQR), and the extra
    tokens of PruMerge+ at regular distances are left out. The weights are not normalised, as in the repository. The
    last token stands at the place of the most attended one that it holds.
    """
    import torch
    from torch.nn import functional as F

    attention, keys = evidence.need("last_attention"), F.normalize(evidence.need("last_keys"), dim=-1)
    num_tokens = attention.shape[-1]
    by_rank = attention.argsort(dim=-1, descending=True, stable=True)
    chosen = by_rank[:, : budget - 1]
    rank = by_rank.argsort(dim=-1)
    alike = keys.gather(1, chosen[..., None].expand(-1, -1, keys.shape[-1])) @ keys.transpose(1, 2)
    alike = alike.scatter(2, chosen[..., None], float("-inf"))
    near = ranks(-alike) < min(_NEIGHBOURS, num_tokens - 1)
    merge = identity(attention).repeat(len(attention), 1, 1)
    merge.scatter_add_(1, chosen[..., None].expand(-1, -1, num_tokens), near * attention[:, None])
    rest = attention.masked_fill(rank < budget - 1, 0.0)
    merge = torch.where((rank == budget - 1)[..., None], rest[:, None], merge)
    kept = rank < budget
    return Selection(kept, torch.zeros_like(kept), budget, rank, merge)
