"""DivPrune on directions whose distances can be read off a clock face."""

from __future__ import annotations

import math

import pytest
import torch

from litelvlm.rules.divprune import divprune
from litelvlm.rules.evidence import Evidence


def kept_of(degrees: list[float], budget: int, lengths: list[float] | None = None) -> list[int]:
    turned = [(math.cos(math.radians(one)), math.sin(math.radians(one))) for one in degrees]
    tokens = torch.tensor(turned, dtype=torch.float64) * torch.tensor(lengths or [1.0] * len(degrees))[:, None]
    evidence = Evidence(context=torch.zeros(1, len(degrees)), projected=tokens[None])
    return torch.nonzero(divprune(evidence, budget).kept[0]).flatten().tolist()


@pytest.mark.parametrize(("budget", "expected"), [(1, [3]), (2, [1, 3]), (3, [1, 2, 3]), (4, [0, 1, 2, 3])])
def test_first_the_loneliest_then_the_farthest_of_what_is_kept(budget: int, expected: list[int]) -> None:
    """200 is 110 from its nearest; 10 is the farthest from it (170); 90 is 80 from both, while 0 is 10 from one."""
    assert kept_of([0, 10, 90, 200], budget) == expected


def test_the_length_of_a_token_does_not_matter() -> None:
    assert kept_of([0, 10, 90, 200], 2, lengths=[9.0, 0.1, 4.0, 70.0]) == [1, 3]


def test_equal_tokens_are_taken_once_each_by_index() -> None:
    assert kept_of([45] * 5, 3) == [0, 1, 2]


def test_a_single_token_is_kept() -> None:
    assert kept_of([30], 1) == [0]
