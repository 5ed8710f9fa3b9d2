"""Masks as polygons: exact where they should be, near where they may be, and what is lost is told."""

from __future__ import annotations

import builtins
from collections import Counter
from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.export.outlines import (
    check_installed,
    fill,
    loss_line,
    losses,
    one_ring,
    trace,
)
from litelvlm.pipeline.masks import EncodedMask, decode_mask, encode_mask, mask_iou
from tests.pipeline.export.masked_runs import BLUE, GREEN, RED, truth


def masks() -> list[np.ndarray]:
    """Shapes of every kind."""
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:50, :70]
    disc = (yy - 25) ** 2 + (xx - 30) ** 2 < 20**2
    found = [truth(1, RED), truth(1, GREEN), truth(1, BLUE), disc, disc & ~((yy - 20) ** 2 + (xx - 30) ** 2 < 6**2)]
    found += [rng.random((9, 11)) < share for share in (0.1, 0.5, 0.9)]  # diagonal neighbours, holes in holes
    nested = np.ones((21, 21), bool)
    for inset in range(1, 10):
        nested[inset:-inset, inset:-inset] ^= True
    single = np.zeros((5, 5), bool)
    single[2, 2] = True
    return [*found, nested, single, np.ones((4, 6), bool)]


@pytest.mark.parametrize("number", range(len(masks())))
def test_without_tolerance_outlines_are_exact_and_have_no_holes(number: int) -> None:
    mask = encode_mask(masks()[number])
    rings = trace(mask, 0.0).rings
    np.testing.assert_array_equal(decode_mask(fill(rings, mask.size_hw)), masks()[number])
    areas = [_area(ring) for ring in rings]
    assert sum(areas) == mask.area, "polygons that cover each pixel once"
    assert losses(mask, fill(rings, mask.size_hw)) == Counter(masks=1, area=mask.area, lost=0, added=0)


def _area(ring: np.ndarray) -> float:
    """Of a polygon, by the shoelace formula."""
    x, y = ring.T
    return 0.5 * abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()))


def test_tolerance_saves_points_and_costs_little() -> None:
    yy, xx = np.mgrid[:200, :200]
    mask = encode_mask((yy - 100) ** 2 + (xx - 90) ** 2 < 70**2)
    exact, thin = trace(mask, 0.0).rings, trace(mask, 1.0).rings
    assert sum(map(len, thin)) < sum(map(len, exact)) / 3
    assert mask_iou(fill(thin, mask.size_hw), mask) > 0.98


def test_small_objects_stay_what_they_are_however_large_the_tolerance() -> None:
    for shape in masks():
        mask = encode_mask(shape)
        assert mask_iou(fill(trace(mask, 50.0).rings, mask.size_hw), mask) > 0.9


def test_holes_are_seen_and_none_is_an_empty_mask() -> None:
    assert trace(encode_mask(truth(1, RED)), 0.5).has_holes
    assert not trace(encode_mask(truth(1, GREEN)), 0.5).has_holes
    empty = encode_mask(np.zeros((3, 3), bool))
    assert trace(empty, 0.5) == ([], False)
    assert fill([], (3, 3)).area == 0


@pytest.mark.parametrize("number", range(len(masks())))
def test_one_ring_around_all_pieces_fills_nearly_the_same(number: int) -> None:
    mask = encode_mask(masks()[number])
    ring = one_ring(trace(mask, 0.0).rings)
    assert _area(ring) == mask.area, "bridges have no width"
    assert mask_iou(fill([ring], mask.size_hw), mask) > 0.6


def test_pieces_in_a_row_are_joined_one_to_the_next() -> None:
    row = np.zeros((3, 60), bool)
    for left in (0, 40, 20, 57):
        row[:, left : left + 3] = True
    ring = one_ring(trace(encode_mask(row), 0.0).rings)
    steps = np.abs(np.diff(np.concatenate((ring, ring[:1])), axis=0)).sum(1)
    assert sorted(steps[steps > 3]) == [14, 14, 17, 17, 17, 17], "each gap twice, there and back"


@pytest.mark.slow
def test_very_many_pieces_are_joined_as_well() -> None:
    dots = np.zeros((60, 60), bool)
    dots[::2, ::2] = True
    ring = one_ring(trace(encode_mask(dots), 0.0).rings)
    assert _area(ring) == dots.sum() == 900


def test_what_outlines_cost_is_a_line() -> None:
    counts = Counter(masks=3, area=1_000, lost=5, added=2, with_holes=1)
    assert loss_line(counts) == (
        "outlines of 3 masks, 1 of them with holes, through which they are cut: 0.50% of their area lost, 0.20% added"
    )
    half = EncodedMask(size_hw=(2, 2), counts="", area=0, bbox_xywh=(0, 0, 0, 0))
    assert losses(encode_mask(np.ones((2, 2), bool)), half) == Counter(masks=1, area=4, lost=4, added=0)


def test_what_is_not_installed_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("rasterio"):
            raise ImportError("No module named 'rasterio'")
        return real(name, *rest)

    check_installed()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install 'litelvlm-annotate\[export\]' \(No module named 'rasterio'\)"):
        check_installed()
