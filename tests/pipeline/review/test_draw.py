"""The draw: seeded, fair, with something of every stratum, and with the worst."""

from __future__ import annotations

import numpy as np
import pytest

from litelvlm.pipeline.review.draw import Drawn, draw
from litelvlm.pipeline.review.population import Population


def population(sizes: dict[int, int], seed: int = 0, failed: int = 0) -> Population:
    """Strata of these sizes, mixed; the last `failed` records have no answer."""
    rng = np.random.default_rng(seed)
    stratum = rng.permutation(np.repeat(list(sizes), list(sizes.values()))).astype(np.uint64)
    count = len(stratum)
    score = rng.random(count).astype(np.float32)
    is_answer = np.arange(count) < count - failed
    risk = np.where(is_answer, 1 - score, 1.0).astype(np.float32)
    return Population(
        rows=np.arange(count), score=score, risk=risk, is_answer=is_answer, is_mask=is_answer, stratum=stratum,
        num_left_out=0,
    )  # fmt: skip


SIZES = {1: 900, 2: 90, 3: 10}


def test_the_same_seed_draws_the_same_and_another_others() -> None:
    world = population(SIZES)
    first, again, other = (draw(world, 100, 0.5, seed) for seed in (1, 1, 2))
    assert first.index.tolist() == again.index.tolist() != other.index.tolist()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_budget_is_kept_and_nothing_is_drawn_twice(share: float) -> None:
    drawn = draw(population(SIZES), 100, share, 0)
    assert len(drawn.index) == len(set(drawn.index.tolist())) == 100
    assert int(drawn.is_random.sum()) <= round(100 * share)
    assert int(drawn.is_base.sum()) >= round(100 * share) // 2
    assert not (drawn.is_base & ~drawn.is_random).any()


def test_rare_strata_are_in_the_random_part() -> None:
    world = population(SIZES)
    for seed in range(20):
        drawn = draw(world, 100, 0.6, seed)
        counts = _counts(drawn)
        assert min(counts.values()) >= 5, counts
        for stratum, size in SIZES.items():
            inside = drawn.is_random & (drawn.stratum == stratum)
            np.testing.assert_allclose(drawn.probability[inside], counts[stratum] / size)


def test_the_targeted_part_has_the_highest_risk() -> None:
    world = population(SIZES, failed=5)
    drawn = draw(world, 60, 0.5, 0)
    targeted = drawn.index[~drawn.is_random]
    assert set(range(995, 1000)) <= set(targeted.tolist())
    left = np.setdiff1d(np.arange(1000), drawn.index)
    assert world.risk[targeted].min() >= world.risk[left].max()
    assert (drawn.probability[~drawn.is_random] == 1).all()


def test_every_answer_is_as_likely_to_be_in_the_base() -> None:
    """1,000 draws of 30 of 200: each count is binomial, 150 +- 11."""
    world = population({1: 150, 2: 40, 3: 10})
    counts, sizes = np.zeros(200), set()
    for seed in range(1000):
        drawn = draw(world, 40, 1.0, seed)
        counts[drawn.index[drawn.is_base]] += 1
        sizes.add(drawn.num_base)
    assert len(sizes) == 1, "its size must not depend on the draw"
    expected = 1000 * sizes.pop() / 200
    deviation = np.sqrt(expected * (1 - expected / 1000))
    assert np.abs(counts - expected).max() < 5 * deviation
    for stratum in (1, 2, 3):  # no stratum more than another
        assert abs(counts[world.stratum == stratum].mean() - expected) < 4 * deviation / 3


def test_too_many_strata_are_merged_but_for_the_largest() -> None:
    drawn = draw(population({1: 500, 2: 300} | dict.fromkeys(range(3, 203), 1)), 40, 0.5, 0)
    assert set(drawn.sizes) >= {0, 1, 2}
    assert sum(drawn.sizes.values()) == 1000
    assert len(drawn.sizes) <= 5


def test_less_than_the_budget_is_all() -> None:
    assert sorted(draw(population({1: 7}), 100, 0.3, 0).index.tolist()) == list(range(7))


def _counts(drawn: Drawn) -> dict[int, int]:
    names, counts = np.unique(drawn.stratum[drawn.is_random], return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))
