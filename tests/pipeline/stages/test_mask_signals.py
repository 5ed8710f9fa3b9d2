"""Parts, holes and sides of masks against a reading of their pixels; overlaps against IoU by hand."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.masks import encode_mask, run_lengths
from litelvlm.pipeline.stages.mask_signals import COMPARED, GRID_CELLS, MaskShape, fill_overlaps, mask_shape


def shape(mask: np.ndarray) -> MaskShape:
    return mask_shape(run_lengths(mask), encode_mask(mask))


def parts(mask: np.ndarray, *, corners: bool) -> int:
    """Connected parts of a mask, found by walking from pixel to pixel."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if corners or abs(dy) + abs(dx) == 1]
    count = 0
    while left:
        count += 1
        near = [left.pop()]
        while near:
            y, x = near.pop()
            beside = {(y + dy, x + dx) for dy, dx in steps} & left
            left -= beside
            near += beside
    return count


def literal_shape(mask: np.ndarray) -> MaskShape:
    sides = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    outside = np.pad(~mask, 1, constant_values=True)
    return MaskShape(
        components=parts(mask, corners=True),
        holes=parts(outside, corners=False) - 1,
        borders=sum(bool(side.any()) for side in sides),
    )


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.95])
def test_shapes_are_those_of_the_pixels(share: float) -> None:
    rng = np.random.default_rng(int(100 * share))
    for _ in range(60):
        mask = rng.random(rng.integers(1, 20, 2)) < share
        if mask.any():
            assert shape(mask) == literal_shape(mask)


def test_a_ring_a_dot_in_it_and_a_bar_along_the_side() -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[5:30, 5:30] = True
    mask[10:25, 10:25] = False
    mask[15:20, 15:20] = True
    mask[:, 50:] = True
    assert shape(mask) == MaskShape(components=3, holes=1, borders=3)
    assert shape(np.ones((4, 5), dtype=bool)) == MaskShape(components=1, holes=0, borders=4)


def test_a_large_mask_is_read_at_some_rows_and_columns() -> None:
    mask = np.zeros((4 * GRID_CELLS, 4 * GRID_CELLS), dtype=bool)
    mask[:400], mask[600:] = True, True
    mask[401] = True  # a gap and a bar of one pixel are not seen
    mask[100:200, 100:200] = False
    assert shape(mask) == MaskShape(components=2, holes=1, borders=4)
    speck = np.zeros((1000, 1000), dtype=bool)
    speck[500, 999] = speck[999, 500] = True
    assert shape(speck).components == 1, "whatever is missed, there is a part"


def test_noise_takes_a_bounded_time() -> None:
    mask = np.random.default_rng(0).random((1500, 2000)) < 0.5
    lengths, encoded = run_lengths(mask), encode_mask(mask)
    started = time.perf_counter()
    mask_shape(lengths, encoded)
    assert time.perf_counter() - started < 2.0


def record(mask: np.ndarray, phrase: str, image: str = "a") -> dict[str, Any]:
    found = encode_mask(mask)
    return {
        "image_key": image,
        "phrase": phrase,
        "height": mask.shape[0],
        "width": mask.shape[1],
        "mask_rle": found.counts if found.area else None,
        "overlap": None,
        "num_equal": None,
    }


def rectangle(left: int, right: int) -> np.ndarray:
    mask = np.zeros((20, 100), dtype=bool)
    mask[5:15, left:right] = True
    return mask


def test_masks_are_compared_with_those_of_other_phrases_of_their_image() -> None:
    records = [
        record(rectangle(0, 50), "a"),
        record(rectangle(2, 50), "b"),  # IoU 48 / 50 with the first
        record(rectangle(40, 60), "c"),  # 10 / 60 with it
        record(rectangle(0, 50), " A"),  # a repeat is no other phrase
        record(rectangle(0, 0), "nothing"),
        record(rectangle(0, 50), "b", image="another"),
    ]
    fill_overlaps(records)
    assert [one["overlap"] for one in records] == pytest.approx([0.96, 0.96, 10 / 58, 0.96, None, 0.0])
    assert [one["num_equal"] for one in records] == [1, 2, 0, 1, None, 0]


def test_of_very_many_masks_neighbours_are_compared() -> None:
    records = [record(rectangle(0, 50), str(number)) for number in range(COMPARED + 1)]
    fill_overlaps(records)
    assert [one["num_equal"] for one in records] == [COMPARED - 1] * COMPARED + [0]
