"""A token of every region, and more where there is more to see."""

from __future__ import annotations

import torch

from litelvlm.rules.altp import altp
from litelvlm.rules.evidence import Evidence


def test_a_region_with_detail_gets_the_places_that_are_left() -> None:
    """Of two halves of a 4 x 4 grid the lower shows one thing and the upper eight."""
    patches = torch.ones(1, 16, 9)
    patches[0, :8] = torch.eye(9)[:8]
    kept = altp(Evidence(context=torch.zeros(1, 16), patches=patches), 8).kept[0]
    assert kept.view(2, 8).sum(-1).tolist() == [7, 1]


def test_equal_regions_share_evenly() -> None:
    patches = torch.eye(16)[None]
    kept = altp(Evidence(context=torch.zeros(1, 16), patches=patches), 8).kept[0].view(2, 8)
    assert kept.sum(-1).tolist() == [4, 4]
