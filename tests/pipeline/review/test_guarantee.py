"""The bounds, by hand, against scipy's, and by simulation: the stated error is exceeded as seldom as stated."""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np
import pytest

from litelvlm.pipeline.review.guarantee import (
    NOTHING,
    Sample,
    calibrate,
    conformal,
    fewest_reviews,
    fixed_sequence,
    forecast,
    interval,
    most_errors,
)

World = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


def test_the_bound_is_the_hypergeometric_one() -> None:
    """Of 10 records 4 are seen without error: with E errors that has C(10 - E, 4) / C(10, 4)."""
    chances = {errors: comb(10 - errors, 4) / comb(10, 4) for errors in range(7)}
    for delta in (0.01, 0.05, 0.2, 0.5):
        assert most_errors(0, 4, 10, delta) == max(errors for errors in chances if chances[errors] > delta)
    assert most_errors(2, 10, 10, 0.05) == 2  # all are seen
    assert most_errors(4, 4, 10, 0.05) == 10


@pytest.mark.parametrize(("errors", "count"), [(0, 59), (3, 200), (20, 100)])
def test_it_is_never_above_clopper_and_pearsons_and_meets_it_in_large_populations(errors: int, count: int) -> None:
    limit = interval(errors, count, 0.9)[1]  # two-sided at 0.9: 0.95 on this side
    for size in (count + 1, 5 * count, 100 * count, 10_000 * count):
        assert most_errors(errors, count, size, 0.05) / size <= limit + 1 / size
    assert most_errors(errors, count, 10_000 * count, 0.05) / (10_000 * count) == pytest.approx(limit, rel=2e-3)


def test_the_interval_is_exact() -> None:
    assert interval(0, 10, 0.95) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert interval(0, 0, 0.95) == (0.0, 1.0)


def _sloping(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    score = rng.beta(5, 1.5, 1500)
    return score, rng.random(1500) < 0.3 * (1 - score)


def _stepped(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    score = np.round(rng.random(1200), 2)
    return score, rng.random(1200) < np.where(score > 0.5, 0.005, 0.4)


def _at_the_limit(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    score = rng.random(1000)
    return score, rng.random(1000) < 0.055


def _inverse(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    score = rng.random(1000)
    return score, rng.random(1000) < 0.15 * score**4


def _hidden_stratum(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A twentieth with the best scores, and always wrong."""
    score, error = rng.random(1000) * 0.9, rng.random(1000) < 0.01
    bad = rng.random(1000) < 0.05
    return np.where(bad, 0.95, score), error | bad


def _tiny(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    score = rng.random(150)
    return score, rng.random(150) < 0.06


WORLDS = [_sloping, _stepped, _at_the_limit, _inverse, _hidden_stratum, _tiny]


def _reviewed(score: np.ndarray, error: np.ndarray, rng: np.random.Generator, count: int) -> tuple[Sample, np.ndarray]:
    """A random sample, and the worst scores on purpose; which are left unseen."""
    sampled = rng.permutation(len(score))[:count]
    seen = np.zeros(len(score), bool)
    seen[sampled] = True
    seen[np.argsort(score)[: len(score) // 20]] = True
    sample = Sample(
        score=score[sampled], error=error[sampled], population=score, reviewed=score[seen], reviewed_error=error[seen]
    )
    return sample, ~seen


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_in_a_thousand_runs_the_error_is_exceeded_no_more_often_than_stated(world: World) -> None:
    rng = np.random.default_rng(7)
    exceeded, shares = 0, []
    for _ in range(1000):
        score, error = world(rng)
        sample, left = _reviewed(score, error, rng, count=min(len(score) // 2, 250))
        found = fixed_sequence(sample, max_error=0.05, confidence=0.9)
        inside = left & (score >= found.threshold)
        assert int(inside.sum()) == found.count
        exceeded += bool(inside.any()) and error[inside].mean() > 0.05
        expected = conformal(sample, max_error=0.05)
        inside = left & (score >= expected.threshold)
        assert int(inside.sum()) == expected.count
        shares.append(error[inside].mean() if inside.any() else 0.0)
    # 0.1 is stated; of 1,000 runs at most 128 exceed it by chance once in 1,000 tests
    assert exceeded <= 128
    assert np.mean(shares) <= 0.05 + 3 * np.std(shares) / np.sqrt(1000)


def test_most_of_what_is_good_is_accepted_where_the_score_tells() -> None:
    shares = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        score, error = _stepped(rng)
        sample, left = _reviewed(score, error, rng, count=400)
        found = fixed_sequence(sample, max_error=0.05, confidence=0.95)
        assert not found.bound > 0.05
        assert conformal(sample, 0.05).count >= found.count
        shares.append(found.count / (left & (score > 0.5)).sum())
    assert np.mean(shares) > 0.6
    assert np.mean(np.array(shares) > 0) > 0.7


def test_small_samples_accept_nothing() -> None:
    fewest = fewest_reviews(0.05, 0.95)
    score = np.linspace(0, 1, 10_000)
    for count, accepts in ((fewest - 5, False), (fewest + 5, True)):
        sampled = score[:: len(score) // count][:count]
        good = np.zeros(len(sampled), bool)
        sample = Sample(score=sampled, error=good, population=score, reviewed=sampled, reviewed_error=good)
        assert (fixed_sequence(sample, 0.05, 0.95).count > 0) is accepts
    empty = np.array([])
    none = Sample(score=empty, error=empty > 0, population=score, reviewed=empty, reviewed_error=empty > 0)
    assert fixed_sequence(none, 0.05, 0.95) == conformal(none, 0.05) == NOTHING
    assert forecast(none, 0.05, 0.95, 2.0) == 0


def test_the_calibration_is_monotone_and_keeps_the_mean() -> None:
    rng = np.random.default_rng(1)
    score = np.round(rng.random(500), 2)
    error = rng.random(500) > score
    names, right = calibrate(score, error)
    assert (np.diff(names) > 0).all()
    assert (np.diff(right) >= 0).all()
    assert np.interp(score, names, right).mean() == pytest.approx((~error).mean())


def test_more_reviews_are_forecast_to_accept_more() -> None:
    rng = np.random.default_rng(2)
    score, error = rng.random(5000), np.zeros(5000, bool)
    error[rng.random(5000) < np.where(score > 0.5, 0.02, 0.3)] = True
    sample, _ = _reviewed(score, error, rng, count=100)
    few, many = (forecast(sample, 0.05, 0.95, factor) for factor in (0.5, 5.0))
    assert few == 0
    assert many > 1000
