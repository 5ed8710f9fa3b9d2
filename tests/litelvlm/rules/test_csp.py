"""LVLM-CSP: centres by attention, then members of all clusters in turns."""

from __future__ import annotations

import pytest
import torch

from litelvlm.rules.csp import csp
from litelvlm.rules.evidence import Evidence


@pytest.mark.parametrize(
    ("budget", "expected"), [(1, [0]), (2, [0, 1]), (4, [0, 1, 2, 5]), (5, [0, 1, 2, 3, 5]), (6, [0, 1, 2, 3, 4, 5])]
)
def test_small_clusters_have_their_turn_before_large_ones_have_a_second(budget: int, expected: list[int]) -> None:
    """`[CLS]` attends to tokens the less the higher their index; 1 and 5 are alike, and so are all others."""
    patches = torch.tensor([[1.0, 0.0]] * 6)
    patches[[1, 5]] = torch.tensor([0.0, 3.0])
    attention = torch.arange(6, 0, -1, dtype=torch.float32)[None]
    evidence = Evidence(context=torch.zeros(1, 6), attention=attention, patches=patches[None])
    assert torch.nonzero(csp(evidence, budget).kept[0]).flatten().tolist() == expected
