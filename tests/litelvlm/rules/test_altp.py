"""ALTP: regions with more detail keep more, and none is left out."""

from __future__ import annotations

import torch

from litelvlm.rules.altp import altp
from litelvlm.rules.evidence import Evidence


def kept_of(patches: torch.Tensor, budget: int) -> list[int]:
    evidence = Evidence(context=torch.zeros(1, len(patches)), patches=patches[None])
    return torch.nonzero(altp(evidence, budget).kept[0]).flatten().tolist()


def test_a_flat_region_keeps_one_token_and_the_rest_goes_to_detail() -> None:
    """The upper half of a grid of 4x4 shows one thing, every token of the lower half another."""
    patches = torch.eye(16)
    patches[:8] = patches[0]
    assert kept_of(patches, 8) == [0, *range(8, 15)]


def test_regions_of_equal_detail_share_alike() -> None:
    assert kept_of(torch.eye(16), 8) == [0, 1, 2, 3, 8, 9, 10, 11]
