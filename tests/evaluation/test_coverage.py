"""The share of an object's patches that were kept, in the square of the image that CLIP sees."""

from __future__ import annotations

import numpy as np
import pytest

from litelvlm.evaluation.coverage import coverage, object_patches, patch_shares
from tests.evaluation.masks import box


def test_coverage_counts_the_objects_patches_in_the_central_square() -> None:
    patches = object_patches(box(40, 60, 0, 10, 20, 30), 16)  # the upper left quarter of the central 40x40
    assert np.flatnonzero(patches).tolist() == [0, 1, 4, 5]
    assert coverage(patches, np.array([0, 1, 2, 3])) == 0.5
    assert coverage(patches, np.arange(16)) == 1.0
    assert coverage(patches, np.array([15, 2])) == 0.0
    assert coverage(patches, np.zeros(0, np.int64)) == 0.0


def test_an_object_outside_the_square_has_no_coverage() -> None:
    assert coverage(object_patches(box(40, 60, 0, 0, 40, 10), 16), np.arange(16)) is None


@pytest.mark.parametrize(("columns", "touched"), [(2, []), (4, [0])])  # an eighth, and just a quarter of a patch
def test_a_patch_is_the_objects_from_a_quarter_on(columns: int, touched: list[int]) -> None:
    assert np.flatnonzero(object_patches(box(16, 16, 0, 0, 4, columns), 4)).tolist() == touched


def test_shares_are_those_of_each_patch() -> None:
    assert patch_shares(box(16, 16, 0, 0, 4, 12), 4).tolist() == [0.5, 0.25, 0, 0]


def test_an_image_smaller_than_the_grid_is_sampled_again() -> None:
    assert object_patches(box(2, 2, 0, 0, 1, 2), 16).reshape(4, 4).tolist() == [[True] * 4] * 2 + [[False] * 4] * 2
