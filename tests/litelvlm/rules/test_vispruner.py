"""VisPruner: the important half, and the other without duplicates."""

from __future__ import annotations

import pytest
import torch

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.vispruner import vispruner


def kept_of(patches: torch.Tensor, budget: int) -> list[int]:
    """Of patches that `[CLS]` attends to the less the higher their index is."""
    attention = torch.arange(len(patches), 0, -1, dtype=torch.float32)[None]
    evidence = Evidence(context=torch.zeros(1, len(patches)), attention=attention, patches=patches[None])
    return torch.nonzero(vispruner(evidence, budget).kept[0]).flatten().tolist()


@pytest.mark.parametrize(("twin", "expected"), [(4, [0, 1, 2, 3]), (2, [0, 1, 3, 4])])
def test_the_duplicate_goes_whatever_its_length(twin: int, expected: list[int]) -> None:
    """0 and 1 are important; 2 and 4 are held against 3, and the one that is its twin goes."""
    patches = torch.eye(5)
    patches[twin] = 7 * patches[3]
    assert kept_of(patches, 4) == expected


def test_among_equals_the_first_pile_goes_first() -> None:
    """Left are 1, 2, 3, 4; 1 and 3 go together, then 2."""
    assert kept_of(torch.ones(5, 2), 2) == [0, 4]


def test_no_more_go_than_must() -> None:
    assert kept_of(torch.ones(40, 2), 38) == [index for index in range(40) if index not in (19, 21)]


def test_one_token_is_no_important_one() -> None:
    """A budget of 1 has no important half: everything is dealt into piles."""
    assert kept_of(torch.ones(3, 2), 1) == [1]
    assert kept_of(torch.ones(1, 2), 1) == [0]
