"""Centres by attention, and members of their clusters in turns."""

from __future__ import annotations

import torch

from litelvlm.rules.csp import csp
from litelvlm.rules.evidence import Evidence


def kept_of(attention: list[float], groups: list[int], budget: int) -> list[int]:
    patches = torch.eye(max(groups) + 1)[groups][None]
    evidence = Evidence(context=torch.zeros(1, len(groups)), attention=torch.tensor([attention]), patches=patches)
    return torch.nonzero(csp(evidence, budget).kept[0]).flatten().tolist()


def test_each_cluster_gives_its_best_member_before_any_gives_a_second() -> None:
    """Centres are 0 and 3; the large cluster of 0 has 1, 2 and 4, that of 3 has only 5, of the least attention."""
    attention, groups = [0.9, 0.5, 0.4, 0.8, 0.3, 0.1], [0, 0, 0, 1, 0, 1]
    assert kept_of(attention, groups, 4) == [0, 1, 3, 5]
    assert kept_of(attention, groups, 2) == [0, 3]  # a single cluster


def test_an_odd_budget_has_one_centre_more() -> None:
    assert kept_of([0.9, 0.5, 0.8, 0.1], [0, 0, 1, 1], 3) == [0, 1, 2]
    assert kept_of([0.9, 0.5, 0.8, 0.1], [0, 0, 1, 1], 1) == [0]
