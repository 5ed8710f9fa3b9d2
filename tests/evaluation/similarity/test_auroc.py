"""AUROC by hand, against scipy's Mann-Whitney U, and pooled."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from litelvlm.evaluation.similarity.auroc import PooledScores, auroc


def of(scores: list[float], inside: list[int]) -> float:
    return auroc(np.array(scores, np.float32), np.array(inside, bool))


def test_by_hand() -> None:
    assert of([1, 2, 3, 4], [1, 1, 0, 0]) == 0  # all inside below all outside
    assert of([1, 2, 3, 4], [0, 0, 1, 1]) == 1
    assert of([1, 2, 3, 4], [0, 1, 0, 1]) == 0.75  # of 4 pairs 2>1, 4>1 and 4>3
    assert of([2, 2, 3], [1, 0, 0]) == 0.25  # a tie counts as half


@pytest.mark.parametrize("inside", [[0, 0], [1, 1]])
def test_both_sides_are_needed(inside: list[int]) -> None:
    with pytest.raises(ValueError, match="inside and outside"):
        of([1, 2], inside)


def test_it_is_the_u_statistic() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 30, 200).astype(np.float32)  # with ties
    inside = rng.random(200) < 0.2
    u = mannwhitneyu(scores[inside], scores[~inside]).statistic
    assert auroc(scores, inside) == pytest.approx(u / (inside.sum() * (~inside).sum()))


def test_pooled_scores_are_those_of_standardised_records() -> None:
    rng = np.random.default_rng(1)
    pooled, distances, sides = PooledScores(), [], []
    for shift in (0.0, 100.0, -40.0):  # what all patches of a record share does not count
        scores = (rng.standard_normal(100) * (1 + abs(shift)) + shift).astype(np.float32)
        inside = rng.random(100) < 0.3
        pooled.add(scores, inside)
        distances.append((scores - scores.mean()) / scores.std())
        sides.append(inside)
    assert pooled.auroc == pytest.approx(auroc(np.concatenate(distances), np.concatenate(sides)), abs=2e-3)


def test_shares_add_up_to_one_on_each_side() -> None:
    pooled = PooledScores()
    assert pooled.auroc is None
    pooled.add(np.array([0, 0, 0, 20], np.float32), np.array([0, 0, 0, 1], bool))
    inside, outside = pooled.shares(limit=3, bins=6)
    assert inside == [0, 0, 0, 0, 1, 0]  # 1.73 standard deviations above
    assert outside == [0, 0, 1, 0, 0, 0]
    pooled.add(np.ones(4, np.float32), np.array([0, 1, 1, 1], bool))  # all the same: at the mean
    assert sum(pooled.shares()[0]) == pytest.approx(1)
    assert pooled.auroc == pytest.approx((4 * 4 - 3 * 0.5) / 16, abs=0.1)


def test_what_lies_far_out_is_counted_at_the_end() -> None:
    pooled, scores = PooledScores(), np.zeros(400, np.float32)
    scores[0] = 1  # nearly twenty standard deviations above the mean
    pooled.add(scores, scores > 0)
    assert pooled.auroc == 1
