"""The `segmentation` of an annotation in COCO's form, as the original files of RefCOCO and copies of them hold it."""

from __future__ import annotations

from typing import Any

from litelvlm.evaluation.datasets.fields import shown
from litelvlm.evaluation.datasets.truth import union_of
from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.table.true_masks import MAX_POLYGONS, parse_mask

_MIN_NUMBERS = 6  # of three points


def read_segmentation(segmentation: Any, size_hw: tuple[int, int]) -> EncodedMask:
    """The union of an annotation's parts, as the release reads them.

    Taken are run lengths, one polygon, or a list of polygons and of run lengths. Polygons of two points, of which COCO
    has a few, have no inside and are left out; an annotation without any part is a mask without pixels.

    Raises ValueError for everything else.
    """
    if isinstance(segmentation, list) and not all(map(_is_number, segmentation)):
        return _union_of_parts(segmentation, size_hw)
    mask = parse_mask(segmentation, size_hw) if segmentation != [] else union_of([], size_hw)
    if mask is None:
        raise ValueError("mask: null; expected polygons or run lengths")
    return mask


def _union_of_parts(parts: list[Any], size_hw: tuple[int, int]) -> EncodedMask:
    if len(parts) > MAX_POLYGONS:
        raise ValueError(f"mask: {len(parts)} parts, the limit is {MAX_POLYGONS}")
    for number, part in enumerate(parts):
        if not _is_run_lengths(part) and not (isinstance(part, list) and all(map(_is_number, part))):
            raise ValueError(f"mask: part {number} is {shown(part)}; expected a list of numbers, or size and counts")
    polygons = [part for part in parts if isinstance(part, list) and len(part) >= _MIN_NUMBERS]
    masks = [parse_mask(polygons, size_hw)] if polygons else []
    masks += [parse_mask(part, size_hw) for part in parts if isinstance(part, dict)]
    return union_of([mask for mask in masks if mask is not None], size_hw)


def _is_run_lengths(part: Any) -> bool:
    return isinstance(part, dict) and part.get("size") is not None and part.get("counts") is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
