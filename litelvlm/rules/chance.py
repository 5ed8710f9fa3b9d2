"""Tokens drawn at random: what any rule has to beat."""

from __future__ import annotations

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.registry import rule
from litelvlm.rules.selection import Selection, keep


@rule(
    place=3,
    keeps="R at random, by seed and the image's pixels",
    needs=("seeds",),
)
def random(evidence: Evidence, budget: int) -> Selection:
    """R at random, by seed and image; never by the batch."""
    import numpy as np
    import torch

    rows, num_tokens = evidence.context.shape
    seeds = evidence.seeds if evidence.seeds is not None else [0] * rows
    kept = np.zeros((rows, num_tokens), dtype=bool)
    for row, image_seed in enumerate(seeds):
        kept[row, np.random.default_rng([evidence.seed, image_seed]).permutation(num_tokens)[:budget]] = True
    return keep(torch.from_numpy(kept).to(evidence.context.device, non_blocking=True), budget)
