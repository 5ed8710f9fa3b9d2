"""Confidence intervals: seeded, by image, and as wide as statistics says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from litelvlm.evaluation.bootstrap import bootstrap_intervals, bootstrap_mean, group_by_first_seen

Ints = NDArray[np.int64]


def _arrays(num_images: int, per_image: int) -> tuple[Ints, Ints, Ints, list[int]]:
    rng = np.random.default_rng(7)
    count = num_images * per_image
    true = rng.integers(50, 200, count)
    predicted = rng.integers(50, 200, count)
    common = (np.minimum(true, predicted) * rng.random(count)).astype(np.int64)
    return common, predicted, true, np.repeat(np.arange(num_images), per_image).tolist()


def test_intervals_are_seeded_and_hold_the_value() -> None:
    data = _arrays(200, 2)
    first, again = bootstrap_intervals(*data, seed=3), bootstrap_intervals(*data, seed=3)
    union = data[1] + data[2] - data[0]
    assert first == again
    assert first["ciou"][0] < data[0].sum() / union.sum() < first["ciou"][1]
    assert first["giou"][0] < (data[0] / union).mean() < first["giou"][1]
    assert bootstrap_intervals(*data, seed=4) != first


def test_intervals_are_by_image() -> None:
    """The mean of n images has a standard error of sd / sqrt(n), however many equal expressions each image has."""
    rng = np.random.default_rng(1)
    share = rng.integers(1, 99, 400)
    widths = []
    for repeats in (1, 10):
        common = np.repeat(share, repeats)
        full = np.full_like(common, 100)
        low, high = bootstrap_intervals(common, common, full, np.repeat(np.arange(400), repeats).tolist())["giou"]
        widths.append(high - low)
    expected = 2 * 1.96 * (share / 100).std() / np.sqrt(400)
    assert widths == pytest.approx([expected, expected], rel=0.1)


def test_intervals_without_expressions_or_unions() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    assert bootstrap_intervals(nothing, nothing, nothing, []) == {}
    zeros = np.zeros(3, dtype=np.int64)
    assert bootstrap_intervals(zeros, zeros, zeros, [0, 1, 2]) == {"giou": (1.0, 1.0)}


def test_of_one_image_there_is_one_sample() -> None:
    common, predicted, true, _ = _arrays(1, 5)
    union = predicted + true - common
    ciou, giou = common.sum() / union.sum(), (common / union).mean()
    expected = {"ciou": (ciou, ciou), "giou": (giou, giou)}
    found = bootstrap_intervals(common, predicted, true, ["one"] * 5)
    assert {name: pytest.approx(values) for name, values in expected.items()} == found


def test_no_samples_give_no_intervals() -> None:
    assert bootstrap_intervals(*_arrays(3, 1), num_samples=0) == {}


def test_the_mean_of_two_images_is_one_of_three_values() -> None:
    """Images of means 0 and 1, the second with three expressions: drawn twice the first, both, or twice the second."""
    values, images = np.array([0.0, 1.0, 1.0, 1.0]), ["a", "b", "b", "b"]
    assert bootstrap_mean(values, images) == (0.0, 1.0)
    low, high = bootstrap_mean(values, images, level=0.2)  # half of all samples are both images
    assert (low, high) == (0.75, 0.75)


def test_images_are_numbered_as_they_come() -> None:
    assert group_by_first_seen(["b", "a", "b", ("c", 1), "a"]).tolist() == [0, 1, 0, 2, 1]
    assert group_by_first_seen([]).dtype == np.int64
