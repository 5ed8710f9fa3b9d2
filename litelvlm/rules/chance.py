"""Tokens drawn at random: what any rule has to beat."""

from __future__ import annotations

import numpy as np
import torch

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.selection import Selection, keep


def random(evidence: Evidence, budget: int) -> Selection:
    """R at random, by seed and image; never by the batch."""
    rows, num_tokens = evidence.context.shape
    seeds = evidence.seeds if evidence.seeds is not None else [0] * rows
    kept = np.zeros((rows, num_tokens), dtype=bool)
    for row, image_seed in enumerate(seeds):
        kept[row, np.random.default_rng([evidence.seed, image_seed]).permutation(num_tokens)[:budget]] = True
    return keep(torch.from_numpy(kept).to(evidence.context.device, non_blocking=True), budget)
