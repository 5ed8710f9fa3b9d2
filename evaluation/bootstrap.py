"""Confidence intervals by bootstrap over images: expressions of one image are not independent of each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics import Ints, iou_per_expression

NUM_SAMPLES = 1000
LEVEL = 0.95


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
    rng = np.random.default_rng(seed)
    num_images = len(sums[0])
    tails = 100 * (1 - level) / 2, 100 * (1 + level) / 2
    drawn: list[list[float]] = [[], []]
    for _ in range(num_samples):
        chosen = np.bincount(rng.integers(num_images, size=num_images), minlength=num_images)
        total_intersection, total_union, total_iou, count = (float(chosen @ part) for part in sums)
        drawn[0].append(total_intersection / total_union if total_union else np.nan)
        drawn[1].append(total_iou / count)
    return {
        name: (float(low), float(high))
        for name, values in zip(("ciou", "giou"), drawn, strict=True)
        for low, high in [np.nanpercentile(values, tails) if np.isfinite(values).any() else (np.nan, np.nan)]
        if np.isfinite(low)
    }


def group_by_first_seen(keys: Sequence[object]) -> NDArray[np.int64]:
    """Number each distinct key in the order of its first appearance; N int64."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
