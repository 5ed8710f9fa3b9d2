"""TRIM: what is most similar to the text, and one token for all the rest.

arXiv 2409.10994; FreedomIntelligence/TRIM, `llava/model/multimodal_encoder/clip_encoder.py` (`token_reduction`).
"""

from __future__ import annotations

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.registry import TEXT, rule
from litelvlm.rules.selection import Selection, identity
from litelvlm.rules.similarity import take_turns


@rule(
    place=7,
    keeps="R - 1 most similar, and the mean of all others",
    needs=TEXT,
    merges=True,
    order="raster, then the mean",
)
def trim(evidence: Evidence, budget: int) -> Selection:
    """The R - 1 most similar tokens in raster order, then the mean of all others.

    Simplified: R is given where the original cuts off at the outliers of the similarities (above Q3 + 1.5 IQR); several
    phrases take turns where there is one text. Similarities are products, as in the repository. Differs from it in the
    sign: there, products are negated before the softmax, so that its code keeps the *least* similar tokens. TRIM's rows
    in arXiv 2605.13178 lie as low as the ablation of high similarity there, far below that of low similarity, so that
    the most similar are what the published comparison is about. The mean stands at the place of the best token that it
    holds.
    """
    import torch

    turns = take_turns(-evidence.need("similarity"), evidence.need("phrase_mask"))
    kept, chosen = turns < budget, turns < budget - 1
    num_tokens = turns.shape[-1]
    rest = (~chosen).to(evidence.context.dtype) / (num_tokens - budget + 1)
    merge = torch.where((kept & ~chosen)[..., None], rest[:, None], identity(evidence.context))
    raster = torch.arange(num_tokens, device=turns.device)
    return Selection(kept, chosen, budget, torch.where(chosen, raster, num_tokens), merge)
