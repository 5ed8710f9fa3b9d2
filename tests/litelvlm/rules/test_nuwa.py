"""Anchors, and what is averaged into them."""

from __future__ import annotations

import torch

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.nuwa import nuwa


def test_the_anchor_of_a_quadrant_is_the_mean_of_it_weighted_by_attention() -> None:
    attention = torch.full((1, 16), 0.1)
    attention[0, 5] = 0.3
    found = nuwa(Evidence(context=torch.zeros(1, 16), attention=attention), 4)
    assert torch.nonzero(found.kept[0]).flatten().tolist() == [2, 5, 8, 10]
    assert found.merge is not None
    expected = torch.zeros(16)
    expected[[0, 1, 4, 5]] = torch.tensor([1.0, 1.0, 1.0, 3.0]) / 6
    torch.testing.assert_close(found.merge[0, 5], expected)
    torch.testing.assert_close(found.merge[0].sum(-1), torch.ones(16))


def test_with_all_tokens_nothing_is_merged() -> None:
    found = nuwa(Evidence(context=torch.zeros(1, 9), attention=torch.rand(1, 9) + 0.1), 9)
    assert found.kept.all()
    torch.testing.assert_close(found.merge, torch.eye(9)[None])
