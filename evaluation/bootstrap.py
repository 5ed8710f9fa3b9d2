"""Confidence intervals by bootstrap over images: expressions of one image are not independent of each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from litelvlm.evaluation.metrics import Ints, iou_per_expression

NUM_SAMPLES = 1000
LEVEL = 0.95
_NUMBERS_AT_ONCE = 4_000_000


def bootstrap_intervals(
    intersection: Ints,
    predicted_area: Ints,
    true_area: Ints,
    images: Sequence[object],
    *,
    seed: int = 0,
    num_samples: int = NUM_SAMPLES,
    level: float = LEVEL,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of cIoU and gIoU over N expressions; empty where there is none.

    Images are drawn with replacement, each with all of its expressions. The same `seed` and number of images give the
    same draws, so that two rules on the same images are compared on the same samples.
    """
    if not len(images):
        return {}
    union = predicted_area + true_area - intersection
    group = group_by_first_seen(images)
    sums = [
        np.bincount(group, weights=values)
        for values in (intersection, union, iou_per_expression(intersection, union), np.ones(len(group)))
    ]
    chosen = _draws(len(sums[0]), num_samples, seed)
    totals = np.concatenate([part @ np.stack(sums, axis=1) for part in chosen]) if num_samples else np.zeros((0, 4))
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = {"ciou": totals[:, 0] / totals[:, 1], "giou": totals[:, 2] / totals[:, 3]}
    tails = 50 * (1 - level), 50 * (1 + level)
    intervals = {}
    for name, values in drawn.items():
        if (known := values[np.isfinite(values)]).size:
            low, high = np.percentile(known, tails)
            intervals[name] = float(low), float(high)
    return intervals


def bootstrap_mean(
    values: NDArray[np.float64],
    images: Sequence[object],
    *,
    seed: int = 0,
    num_samples: int = NUM_SAMPLES,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Percentile interval of the mean of N >= 1 values, such as differences of two rules, drawn by image."""
    group = group_by_first_seen(images)
    sums = np.stack([np.bincount(group, weights=values), np.bincount(group)], axis=1)
    totals = np.concatenate([part @ sums for part in _draws(len(sums), num_samples, seed)])
    low, high = np.percentile(totals[:, 0] / totals[:, 1], (50 * (1 - level), 50 * (1 + level)))
    return float(low), float(high)


def _draws(num_images: int, num_samples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each image is in each sample, SxI in parts that fit in memory."""
    rng = np.random.default_rng(seed)
    part = max(1, _NUMBERS_AT_ONCE // num_images)
    shares = np.full(num_images, 1 / num_images)
    for start in range(0, num_samples, part):
        yield rng.multinomial(num_images, shares, size=min(part, num_samples - start)).astype(np.float64)


def group_by_first_seen(keys: Sequence[object]) -> NDArray[np.int64]:
    """Number each distinct key in the order of its first appearance; N int64."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
