"""Masks as outlines: polygons at the corners of pixels, without holes, and how well they fill what they stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from litelvlm.pipeline.masks import EncodedMask, decode_mask

Ring = NDArray[np.float64]  # (N, 2), x and y in pixels; its last point is joined to the first

_INSTALL = "outlines need rasterio and shapely: pip install 'litelvlm-annotate[export]'"
_MOST_CHANGED = 0.02  # of an outline's area, by leaving out points
_MOST_POINTS = 2_000_000  # distances between points that are looked at for one bridge
_MOST_COMPARED = 200  # pieces whose bridges are compared; larger ones come first where there are more


def check_installed() -> None:
    """Raises ValueError with the remedy where what traces outlines is not installed."""
    try:
        import rasterio.features  # noqa: F401
        import shapely  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{_INSTALL} ({error})") from error


class Outlines(NamedTuple):
    """Polygons of a mask, and whether it has holes, through which it was cut."""

    rings: list[Ring]
    has_holes: bool


def trace(mask: EncodedMask, tolerance: float) -> Outlines:
    """Polygons without holes that together cover a mask, each around pixels that share sides.

    Where a mask has holes it is cut down through each, which costs nothing: polygons of one object may touch. An
    outline is simplified by Douglas and Peucker's algorithm to points at most `tolerance` pixels off; one that would
    change more than a fiftieth of its area stays exact. None for an empty mask.
    """
    if not mask.area:
        return Outlines([], False)
    left, top, width, height = (round(value) for value in mask.bbox_xywh)
    inside = decode_mask(mask)[top : top + height, left : left + width]
    corner = np.array([left, top], np.float64)
    found = list(_polygons(inside))
    has_holes = any(len(rings) > 1 for rings in found)
    return Outlines([_simplified(ring, tolerance) + corner for ring in _without_holes(inside, found)], has_holes)


def fill(rings: Sequence[Ring], size_hw: tuple[int, int]) -> EncodedMask:
    """The mask that COCO's tools make of polygons."""
    height, width = size_hw
    if not rings:
        return EncodedMask(size_hw=size_hw, counts="", area=0, bbox_xywh=(0, 0, 0, 0))
    rle = coco_mask.merge(coco_mask.frPyObjects([ring.ravel().tolist() for ring in rings], height, width))
    left, top, box_width, box_height = coco_mask.toBbox(rle).tolist()
    return EncodedMask(
        size_hw=size_hw,
        counts=rle["counts"].decode("ascii"),
        area=int(coco_mask.area(rle)),
        bbox_xywh=(left, top, box_width, box_height),
    )


def one_ring(rings: Sequence[Ring]) -> Ring:
    """One outline around all of them, joined by bridges without width: those of a tree of shortest bridges, as Prim
    builds it.

    For formats that have one polygon an object.
    """
    left = dict(enumerate(rings))
    joined = last = left.pop(max(left, key=lambda number: len(left[number])))
    bridges = {number: _Bridge(np.inf, joined[0], 0) for number in left}
    while left:
        if len(left) <= _MOST_COMPARED:
            bridges = {number: min(bridges[number], _bridge(last, ring)) for number, ring in left.items()}
            number = min(left, key=bridges.__getitem__)
            bridge = bridges[number]
        else:
            number = max(left, key=lambda one: len(left[one]))
            bridge = _bridge(joined, left[number])
        last = left.pop(number)
        here = int((joined == bridge.start).all(1).argmax())
        turned = np.concatenate((last[bridge.there :], last[: bridge.there + 1]))
        joined = np.concatenate((joined[: here + 1], turned, joined[here:]))
    return joined


def losses(mask: EncodedMask, filled: EncodedMask) -> Counter[str]:
    """Pixels of a mask, and of what its outlines fill: lost and added ones."""
    pair = [{"size": list(one.size_hw), "counts": one.counts.encode("ascii")} for one in (mask, filled)]
    common = int(coco_mask.area(coco_mask.merge(pair, intersect=True))) if filled.area else 0
    return Counter(masks=1, area=mask.area, lost=mask.area - common, added=filled.area - common)


def loss_line(counts: Counter[str]) -> str:
    """What outlines cost, in a line."""
    area = max(counts["area"], 1)
    holes = f", {counts['with_holes']} of them with holes, through which they are cut" if counts["with_holes"] else ""
    return (
        f"outlines of {counts['masks']} masks{holes}: {counts['lost'] / area:.2%} of their area lost, "
        f"{counts['added'] / area:.2%} added"
    )


def _without_holes(inside: NDArray[np.bool_], found: list[list[Ring]]) -> Iterator[Ring]:
    """The outer rings of what is left of the mask when it is cut through every hole."""
    cuts = sorted({_middle(hole) for _, *holes in found for hole in holes})
    if not cuts:
        yield from (outer for outer, *_ in found)
        return
    for start, stop in zip([0, *cuts], [*cuts, inside.shape[1]], strict=True):
        strip = inside[:, start:stop]
        for ring in _without_holes(strip, list(_polygons(strip))):
            yield ring + np.array([start, 0], np.float64)


def _middle(hole: Ring) -> int:
    """A column of the hole's pixels."""
    return int(hole[:, 0].min() + hole[:, 0].max()) // 2


def _polygons(inside: NDArray[np.bool_]) -> Iterator[list[Ring]]:
    """The outer ring and the holes of every group of pixels that share sides."""
    from rasterio.features import shapes

    for shape, _ in shapes(inside.astype(np.uint8), mask=inside, connectivity=4):
        yield [np.array(ring[:-1], np.float64) for ring in shape["coordinates"]]


def _simplified(ring: Ring, tolerance: float) -> Ring:
    if tolerance <= 0:
        return ring
    from shapely import Polygon

    exact = Polygon(ring)
    simple = exact.simplify(tolerance, preserve_topology=True)
    if not (exact.is_valid and simple.is_valid) or simple.geom_type != "Polygon":  # one that touches itself, say
        return ring
    if simple.symmetric_difference(exact).area > _MOST_CHANGED * exact.area:
        return ring
    return np.array(simple.exterior.coords[:-1], np.float64)


@dataclass(frozen=True, order=True)
class _Bridge:
    """From a point to one of a ring, by its number."""

    square: float  # of its length
    start: NDArray[np.float64] = field(compare=False)
    there: int


def _bridge(first: Ring, second: Ring) -> _Bridge:
    """The shortest one between points of two rings, or of some of their points where there are very many."""
    some = first[:: max(1, len(first) * len(second) // _MOST_POINTS)]
    squares = ((some[:, None, :] - second[None, :, :]) ** 2).sum(-1)
    here, there = np.unravel_index(int(squares.argmin()), squares.shape)
    return _Bridge(float(squares[here, there]), some[here], int(there))
