"""PAYN: the same share of every neighbourhood, whatever the tokens show."""

from __future__ import annotations

import pytest
import torch

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.payn import payn


def kept_of(context: torch.Tensor, budget: int) -> list[list[int]]:
    kept = payn(Evidence(context=context), budget).kept
    return [torch.nonzero(row).flatten().tolist() for row in kept]


def test_every_quadrant_keeps_the_same_token_of_its_own() -> None:
    """On a grid of 4x4 the third of each quadrant on the curve: the lower left."""
    assert kept_of(torch.rand(2, 16), 4) == [[4, 6, 12, 14]] * 2


@pytest.mark.parametrize(("num_tokens", "budget"), [(1, 1), (9, 9), (64, 21), (576, 191), (7, 5)])
def test_any_budget_is_kept_to(num_tokens: int, budget: int) -> None:
    assert len(kept_of(torch.zeros(1, num_tokens), budget)[0]) == budget
