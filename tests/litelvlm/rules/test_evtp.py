"""EVTP: the farthest first, in features and on the grid."""

from __future__ import annotations

import pytest
import torch

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.evtp import evtp


def kept_of(patches: torch.Tensor, budget: int) -> list[int]:
    """Of a grid whose first token has the best context."""
    context = torch.zeros(1, len(patches))
    context[0, 0] = 1
    kept = evtp(Evidence(context=context, patches=patches[None]), budget).kept
    return torch.nonzero(kept[0]).flatten().tolist()


@pytest.mark.parametrize(("budget", "expected"), [(1, [0]), (2, [0, 8]), (3, [0, 2, 8]), (4, [0, 2, 6, 8])])
def test_among_equals_the_corners_come_first(budget: int, expected: list[int]) -> None:
    assert kept_of(torch.ones(9, 3), budget) == expected


def test_what_looks_different_is_farther_than_what_lies_apart() -> None:
    patches = torch.tensor([[1.0, 0.0]] * 9)
    patches[1] = torch.tensor([0.0, 5.0])
    assert kept_of(patches, 2) == [0, 1]
