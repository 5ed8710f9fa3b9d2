"""Silhouettes are what their words say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from litelvlm.demo.objects import SHAPES, SIZES, silhouette


def test_shapes_differ() -> None:
    v, u = np.mgrid[-1:1:41j, -1:1:41j]
    drawn = [silhouette(shape, u, v) for shape in SHAPES]
    assert all(0.2 < mask.mean() < 0.9 for mask in drawn)
    assert all((a != b).mean() > 0.05 for i, a in enumerate(drawn) for b in drawn[:i])
    with pytest.raises(ValueError, match="blob"):
        silhouette("blob", u, v)


@pytest.mark.parametrize(
    ("shape", "area"),
    [("circle", 0.9 * math.pi), ("square", 1.6**2), ("cross", 4 * 0.95 * 0.64 - 0.64**2), ("triangle", 1.7**2 / 1.9)],
)
def test_areas_are_those_of_geometry(shape: str, area: float) -> None:
    v, u = (np.mgrid[:400, :400] + 0.5) / 200 - 1
    assert silhouette(shape, u, v).mean() * 4 == pytest.approx(area, rel=0.01)


def test_a_star_points_up_and_has_five_arms() -> None:
    angles = np.arange(0, 2 * math.pi, math.pi / 5) - math.pi / 2
    inside = silhouette("star", 0.8 * np.cos(angles), 0.8 * np.sin(angles))
    assert inside.tolist() == [True, False] * 5


def test_small_and_large_are_not_confused() -> None:
    assert SIZES["small"][1] < 0.8 * SIZES["large"][0]
