"""Boundary F measure against its definition, pixel by pixel, and values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from litelvlm.pipeline.boundary import boundary, boundary_f, dilate
from tests.evaluation.masks import EMPTY, LEFT, MASK_PAIRS, Mask, box


def _edges(mask: Mask) -> NDArray[np.intp]:
    """Places (N, 2) that differ from their right, lower or lower right neighbour."""
    height, width = mask.shape
    found = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            right, below = min(x + 1, width - 1), min(y + 1, height - 1)
            found[y, x] = len({mask[y, x], mask[y, right], mask[below, x], mask[below, right]}) > 1
    return np.argwhere(found)


def _literal_f(predicted: Mask, true: Mask) -> float:
    """The definition: `davis2017/metrics.py` with its disk written out."""
    radius = int(np.ceil(0.008 * np.linalg.norm(true.shape)))
    found, wanted = _edges(predicted), _edges(true)
    if not len(found) or not len(wanted):
        return float(len(found) == len(wanted))
    squared = ((found[:, None] - wanted[None]) ** 2).sum(-1) <= radius**2
    precision, recall = squared.any(1).mean(), squared.any(0).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(MASK_PAIRS)
def test_boundary_f_follows_its_definition(pair: tuple[Mask, Mask]) -> None:
    assert boundary_f(*pair) == pytest.approx(_literal_f(*pair))


@pytest.mark.parametrize("shape", [(2, 900), (900, 2), (1, 500)])
def test_an_image_may_be_thinner_than_the_tolerance(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    pair = [rng.random(shape) < share for share in (0.01, 0.02)]
    assert boundary_f(*pair) == pytest.approx(_literal_f(*pair))


def test_boundary_f_of_boxes_apart() -> None:
    shape = (120, 160)  # the diagonal is 200 pixels, the tolerance 2
    true = box(*shape, 20, 20, 60, 60)
    assert boundary_f(true, true) == 1.0
    assert boundary_f(box(*shape, 22, 20, 62, 60), true) == 1.0  # moved by the tolerance
    assert boundary_f(box(*shape, 80, 100, 110, 150), true) == 0.0
    moved = box(*shape, 30, 20, 70, 60)
    assert boundary_f(moved, true) == pytest.approx(_literal_f(moved, true))


@pytest.mark.parametrize(
    ("predicted", "true", "expected"), [(EMPTY, EMPTY, 1.0), (EMPTY, LEFT, 0.0), (LEFT, EMPTY, 0.0)]
)
def test_boundary_f_of_empty_masks(predicted: Mask, true: Mask, expected: float) -> None:
    assert boundary_f(predicted, true) == expected


def test_masks_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"different sizes: \(10, 20\) and \(20, 10\)"):
        boundary_f(LEFT, LEFT.T)


def test_boundary_and_disk() -> None:
    mask = np.zeros((7, 7), bool)
    mask[3, 3] = True
    assert np.argwhere(boundary(mask)).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    assert dilate(mask, 2).sum() == 13  # the disk of radius 2
    assert np.array_equal(dilate(mask, 0), mask)
