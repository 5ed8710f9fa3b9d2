"""Tokens drawn at random: by seed and image, never by the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from litelvlm.rules.chance import random
from litelvlm.rules.evidence import Evidence


def drawn(num_tokens: int, budget: int, seeds: list[int] | None, seed: int = 0, rows: int = 1) -> list[list[int]]:
    evidence = Evidence(context=torch.zeros(rows, num_tokens), seeds=seeds, seed=seed)
    return [torch.nonzero(row).flatten().tolist() for row in random(evidence, budget).kept]


def test_it_is_the_start_of_a_permutation_by_both_seeds() -> None:
    expected = sorted(np.random.default_rng([5, 71]).permutation(100)[:30].tolist())
    assert drawn(100, 30, [71], seed=5) == [expected]
    assert drawn(100, 30, [3, 71], seed=5, rows=2)[1] == expected


def test_it_depends_on_seed_and_image() -> None:
    first, second = drawn(100, 30, [7, 8], seed=0, rows=2)
    assert first != second
    assert first != drawn(100, 30, [7], seed=1)[0]


@pytest.mark.parametrize("budget", [1, 5, 6])
def test_a_larger_budget_keeps_what_a_smaller_one_kept(budget: int) -> None:
    kept = drawn(6, budget, [9])[0]
    assert len(kept) == budget
    assert set(kept) <= set(drawn(6, 6, [9])[0]) == set(range(6))
    assert set(drawn(6, max(1, budget - 1), [9])[0]) <= set(kept)


def test_without_seeds_every_image_is_image_0() -> None:
    assert drawn(50, 20, None, rows=2) == drawn(50, 20, [0, 0], rows=2)
