"""What masks say of themselves: their shape, and how they lie to the other masks of their image.

Signals for reviewers, none of them a promise (docs/signals.md). All is read off run lengths; no mask is decoded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from litelvlm.pipeline.masks import EncodedMask

GRID_CELLS = 256  # a side of a mask's box, at most, on which parts and holes are counted
EQUAL_IOU = 0.9  # from which two masks are nearly the same
COMPARED = 256  # masks of an image that are compared with each other; of more, these many neighbours

Ints = NDArray[np.int64]


class MaskShape(NamedTuple):
    """The shape of a mask that is not empty: its parts, the holes in them, how many sides of the image it touches."""

    components: int
    holes: int
    borders: int


class _Runs(NamedTuple):
    """Runs on the grid, by column and row: `column` from 0, rows from `top` up to, but without, `bottom`."""

    column: Ints
    top: Ints
    bottom: Ints


def mask_shape(lengths: Ints, mask: EncodedMask) -> MaskShape:
    """The shape of a mask with these run lengths, of zeros first, down the columns; it holds a pixel at least.

    Parts hang together along sides and corners, holes along sides. They are counted on the mask's box, of which a large
    one is read at every n-th row and column, at 256 a side at most: what is narrower than n pixels may be missed.
    """
    height, width = mask.size_hw
    left, top, box_width, box_height = (int(value) for value in mask.bbox_xywh)
    borders = (left == 0) + (top == 0) + (left + box_width == width) + (top + box_height == height)
    if _is_plain(lengths, height, box_width):
        return MaskShape(components=1, holes=0, borders=borders)
    step = -(-max(box_width, box_height) // GRID_CELLS)
    runs = _joined(_runs(lengths, height, left=left, top=top, step=step))
    first, second = _adjacent(runs)
    components = _components(len(runs.column), first, second)
    holes = len(first) - len(runs.column) + components  # cycles of the graph of runs that touch
    return MaskShape(components=max(1, components), holes=holes, borders=borders)


def fill_overlaps(records: Sequence[dict[str, Any]]) -> None:
    """Fill `overlap` and `num_equal` of a shard's records that have a mask.

    The records of an image are those with its key, wherever in the shard they stand, so that nothing depends on the
    calls in which they were annotated. Repeats of a phrase are no other phrase.
    """
    by_image: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        if record["mask_rle"] is not None:
            by_image[record["image_key"]].append(record)
    for own in by_image.values():
        for start in range(0, len(own), COMPARED):
            _fill(own[start : start + COMPARED])


def _fill(records: Sequence[dict[str, Any]]) -> None:
    ious = np.zeros((1, 1)) if len(records) == 1 else _ious(records)
    phrases = np.array([record["phrase"].strip().casefold() for record in records], dtype=object)
    ious[phrases[:, None] == phrases] = 0.0
    for record, own in zip(records, ious, strict=True):
        record["overlap"] = float(own.max())
        record["num_equal"] = int((own >= EQUAL_IOU).sum())


def _ious(records: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    rles = [{"size": [one["height"], one["width"]], "counts": one["mask_rle"].encode("ascii")} for one in records]
    found: NDArray[np.float64] = coco_mask.iou(rles, rles, [0] * len(rles))
    return found


def _is_plain(lengths: Ints, height: int, num_columns: int) -> bool:
    """Whether every column of the box holds one run that touches the next column's, as in most masks."""
    if len(lengths) // 2 != num_columns:
        return False
    ends = np.cumsum(lengths)
    start, stop = ends[:-1:2], ends[1::2]
    column = start // height
    if ((stop - 1) // height != column).any() or (column[1:] - column[:-1] != 1).any():
        return False
    return bool((start[1:] <= stop[:-1] + height).all() and (stop[1:] >= start[:-1] + height).all())


def _runs(lengths: Ints, height: int, *, left: int, top: int, step: int) -> _Runs:
    """The mask's runs in every `step`-th column of its box, in units of `step` rows."""
    ends = np.cumsum(lengths)
    start, stop = ends[:-1:2], ends[1::2]
    first = -(-(start // height - left) // step)  # columns of the grid; a run may pass through several
    last = ((stop - 1) // height - left) // step
    count = last - first + 1
    owner = np.repeat(np.arange(len(start)), count)
    column = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count - first, count)
    origin = (left + column * step) * height
    above = np.maximum(start[owner] - origin, 0) - top
    below = np.minimum(stop[owner] - origin, height) - top
    above, below = -(-above // step), -(-below // step)
    there = below > above
    return _Runs(column[there], above[there], below[there])


def _joined(runs: _Runs) -> _Runs:
    """Runs of a column between which no row of the grid lies are one."""
    begins = np.ones(len(runs.column), dtype=bool)
    begins[1:] = (runs.column[1:] != runs.column[:-1]) | (runs.top[1:] > runs.bottom[:-1])
    if begins.all():
        return runs
    ends = np.append(begins[1:], True)
    return _Runs(runs.column[begins], runs.top[begins], runs.bottom[ends])


def _adjacent(runs: _Runs) -> tuple[Ints, Ints]:
    """All pairs of runs in neighbouring columns that touch, corners included: numbers of the left and the right one."""
    span = GRID_CELLS + 2
    beside = (runs.column + 1) * span
    first = np.searchsorted(runs.column * span + runs.bottom, beside + runs.top, side="left")
    stop = np.searchsorted(runs.column * span + runs.top, beside + runs.bottom, side="right")
    count = np.maximum(stop - first, 0)
    left = np.repeat(np.arange(len(count)), count)
    return left, np.arange(len(left)) - np.repeat(np.cumsum(count) - count - first, count)


def _components(num_runs: int, first: Ints, second: Ints) -> int:
    """Number of connected parts of a graph of runs."""
    if not (first[1:] == first[:-1]).any() or np.bincount(second, minlength=1).max() <= 1:
        return num_runs - len(first)  # no run touches two on its one side: there is no cycle
    label = np.arange(num_runs)
    while len(first):
        low, high = np.minimum(label[first], label[second]), np.maximum(label[first], label[second])
        apart = low != high
        first, second, low, high = first[apart], second[apart], low[apart], high[apart]
        np.minimum.at(label, high, low)
        while not np.array_equal(further := label[label], label):
            label = further
    return int((label == np.arange(num_runs)).sum())
