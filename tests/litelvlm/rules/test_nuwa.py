"""Nuwa: an anchor of every part, and the part's mean in its place."""

from __future__ import annotations

import torch

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.nuwa import nuwa


def test_the_anchor_of_a_quadrant_is_its_mean_by_attention() -> None:
    """`[CLS]` attends to tokens of a grid of 4x4 the more the higher their index."""
    attention = torch.arange(1, 17, dtype=torch.float32)[None]
    selection = nuwa(Evidence(context=torch.zeros(1, 16), attention=attention), 4)
    assert torch.nonzero(selection.kept[0]).flatten().tolist() == [5, 7, 13, 15]
    expected = torch.zeros(16)
    expected[[0, 1, 4, 5]] = torch.tensor([1.0, 2.0, 5.0, 6.0]) / 14
    torch.testing.assert_close(selection.merge[0, 5], expected)
    torch.testing.assert_close(selection.merge[0].sum(-1), torch.ones(16))


def test_of_equal_attention_the_first_is_the_anchor() -> None:
    selection = nuwa(Evidence(context=torch.zeros(1, 16), attention=torch.ones(1, 16)), 4)
    assert torch.nonzero(selection.kept[0]).flatten().tolist() == [0, 2, 8, 10]
