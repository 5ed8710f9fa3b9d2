"""True masks from Parquet cells: COCO run lengths, COCO polygons or PNG images, to `EncodedMask`.

Cells are untrusted. Sizes must be those of the image, run lengths must fill it exactly, PNG files go through the same
decoder as images, and what a cell makes this process allocate is bounded by the image's pixels.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from litelvlm.pipeline.images.decode import ImageError, decode_image
from litelvlm.pipeline.images.sniff import sniff_format
from litelvlm.pipeline.masks import EncodedMask, decode_mask, encode_mask

MAX_COUNTS_CHARS = 16 * 2**20
MAX_POLYGONS = 10_000
MAX_POLYGON_POINTS = 1_000_000
# pycocotools walks every edge in steps of a fifth of a pixel and keeps each step in memory.
MAX_OUTLINE_PX = 10_000_000


def parse_masks(cell: Any, size_hw: tuple[int, int], num_phrases: int) -> list[EncodedMask | None]:
    """The true mask of each phrase of a row, from the row's mask cell as Arrow's `as_py` gives it.

    A cell that is a list of masks holds one for each phrase, in order, null where there is no truth; any other cell
    holds the one mask that all the row's phrases mean. `size_hw` is that of the upright image in pixels.

    Raises ValueError saying what is wrong with the cell.
    """
    masks = parse_each_mask(cell, size_hw, num_phrases)
    for mask in masks:
        if isinstance(mask, ValueError):
            raise mask
    return [mask for mask in masks if not isinstance(mask, ValueError)]


def parse_each_mask(cell: Any, size_hw: tuple[int, int], num_phrases: int) -> list[EncodedMask | ValueError | None]:
    """As `parse_masks`, with an error in the place of each mask that has one, so that the others can be used."""
    try:
        cell = _from_json(cell)
        items = cell if _is_list_of_masks(cell) else None
        if items is not None and len(items) != num_phrases:
            raise ValueError(
                f"mask: {len(items)} masks for {num_phrases} phrases; expected one for each, or one for all"
            )
    except ValueError as error:
        return [error] * num_phrases
    return (
        [_mask_or_error(item, size_hw) for item in items]
        if items is not None
        else ([_mask_or_error(cell, size_hw)] * num_phrases)
    )


def _mask_or_error(cell: Any, size_hw: tuple[int, int]) -> EncodedMask | ValueError | None:
    try:
        return parse_mask(cell, size_hw)
    except ValueError as error:
        return error


def parse_mask(cell: Any, size_hw: tuple[int, int]) -> EncodedMask | None:
    """One true mask; None for null, which means that the truth is not known.

    Taken are COCO's `{"size": [height, width], "counts": …}` with counts compressed (text) or not (a list of numbers),
    the compressed counts alone, a list of polygons `[[x, y, x, y, …], …]` or one polygon in pixels, any of these as
    JSON text, and PNG bytes or the Hugging Face image `{"bytes": …}`, where every pixel that is not black is inside.
    An empty mask is one of run lengths without any pixel inside, and says that nothing is there to be found.

    Raises ValueError saying what is wrong with the cell.
    """
    cell = _from_json(cell)
    if cell is None:
        return None
    if isinstance(cell, dict):
        return _from_dict(cell, size_hw)
    if isinstance(cell, bytes | bytearray | memoryview):
        return _from_bytes(cell, size_hw)
    if isinstance(cell, str):
        return _from_counts(cell, size_hw)
    if isinstance(cell, list | tuple | np.ndarray):
        return _from_polygons(cell, size_hw)
    raise ValueError(f"mask: a {type(cell).__name__} is no mask; expected run lengths, polygons or PNG bytes")


def _from_json(cell: Any) -> Any:
    """What JSON text stands for; other cells as they are. Run lengths never begin like this and end like this."""
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    if (text[:1], text[-1:]) not in (("{", "}"), ("[", "]")) and text != "null":
        return cell
    if len(text) > MAX_COUNTS_CHARS:
        raise ValueError(f"mask: {len(text)} characters of JSON, the limit is {MAX_COUNTS_CHARS}")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"mask: JSON that cannot be read: {type(error).__name__}") from None


def _is_list_of_masks(cell: Any) -> bool:
    if not isinstance(cell, list | tuple | np.ndarray) or len(cell) == 0:
        return False
    first = next((item for item in cell if item is not None), None)
    if first is None or isinstance(first, dict | str | bytes | bytearray):
        return True
    return _depth(first) >= 2  # polygons of polygons: one list for each phrase


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list | tuple | np.ndarray) and depth < 4:
        depth += 1
        if len(value) == 0:
            break
        value = value[0]
    return depth


def _from_dict(cell: dict[str, Any], size_hw: tuple[int, int]) -> EncodedMask | None:
    if "counts" in cell:
        if cell["counts"] is None:
            return None
        _check_size(cell.get("size"), size_hw)
        counts = cell["counts"]
        if isinstance(counts, list | tuple | np.ndarray):
            return _from_runs(counts, size_hw)
        return _from_counts(counts, size_hw)
    if "bytes" in cell:
        if cell["bytes"] is not None:
            return _from_png(_binary(cell["bytes"]), size_hw)
        if cell.get("path") is None:
            return None
        raise ValueError("mask: a path without bytes; mask files are not fetched, embed them as bytes")
    fields = ", ".join(sorted(map(str, cell))[:8]) or "none"
    raise ValueError(f"mask: a struct of {fields[:200]}; expected size and counts, or bytes")


def _check_size(size: Any, size_hw: tuple[int, int]) -> None:
    try:
        given = tuple(int(value) for value in size)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("mask: size is not [height, width]") from None
    if given != size_hw:
        raise ValueError(f"mask: size {list(given)[:4]} is not the image's, {list(size_hw)}")


def _from_bytes(data: Any, size_hw: tuple[int, int]) -> EncodedMask:
    """PNG, or compressed run lengths in a binary column."""
    data = _binary(data)
    is_counts = len(data) <= MAX_COUNTS_CHARS and all(48 <= byte <= 111 for byte in data)
    return _from_counts(data, size_hw) if is_counts else _from_png(data, size_hw)


def _binary(data: Any) -> bytes:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ValueError(f"mask: bytes are a {type(data).__name__}; expected binary data")
    return bytes(data)


def _from_counts(counts: Any, size_hw: tuple[int, int]) -> EncodedMask:
    """Compressed run lengths, taken apart and written anew: equal masks are equal texts."""
    if isinstance(counts, bytes | bytearray | memoryview):
        counts = bytes(counts).decode("latin-1")
    if not isinstance(counts, str):
        raise ValueError(f"mask: counts are a {type(counts).__name__}; expected text or a list of numbers")
    height, width = size_hw
    limit = min(MAX_COUNTS_CHARS, 4 * height * width + 16)  # a sound text is never longer than that
    if len(counts) > limit:
        raise ValueError(f"mask: {len(counts)} characters of run lengths, the limit for {height}x{width} is {limit}")
    try:
        given = EncodedMask(size_hw=size_hw, counts=counts, area=0, bbox_xywh=(0.0, 0.0, 0.0, 0.0))
        return encode_mask(decode_mask(given))
    except (MemoryError, OverflowError):  # run lengths whose sum wraps around to the right one
        raise ValueError(f"mask: run lengths do not fill {height}x{width}") from None


def _from_runs(counts: Any, size_hw: tuple[int, int]) -> EncodedMask:
    height, width = size_hw
    if len(counts) > min(MAX_COUNTS_CHARS, height * width + 2):
        raise ValueError(f"mask: {len(counts)} run lengths are too many for {height}x{width}")
    runs = _numbers(counts, "run lengths")
    if (runs != np.floor(runs)).any() or (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"mask: run lengths do not fill {height}x{width}")
    inside = np.repeat(np.arange(runs.size) % 2 == 1, runs.astype(np.int64))
    return encode_mask(inside.reshape(width, height).T)


def _from_polygons(cell: Any, size_hw: tuple[int, int]) -> EncodedMask:
    polygons = [cell] if _depth(cell) == 1 else cell
    if len(cell) == 0 or len(polygons) > MAX_POLYGONS:
        raise ValueError(f"mask: {len(polygons) if len(cell) else 0} polygons; expected 1 to {MAX_POLYGONS}")
    outlines = [_outline(polygon, size_hw) for polygon in polygons]
    if sum(outline.size for outline in outlines) > 2 * MAX_POLYGON_POINTS:
        raise ValueError(f"mask: polygons of more than {MAX_POLYGON_POINTS} points")
    if sum(_length_px(outline) for outline in outlines) > MAX_OUTLINE_PX:
        raise ValueError(f"mask: polygons with more than {MAX_OUTLINE_PX} pixels of outline")
    height, width = size_hw
    parts = coco_mask.frPyObjects([outline.tolist() for outline in outlines], height, width)
    return _from_counts(coco_mask.merge(parts)["counts"], size_hw)


def _outline(polygon: Any, size_hw: tuple[int, int]) -> NDArray[np.float64]:
    if not isinstance(polygon, list | tuple | np.ndarray):
        raise ValueError(f"mask: a {type(polygon).__name__} is no polygon")
    if len(polygon) < 6 or len(polygon) % 2 or len(polygon) > 2 * MAX_POLYGON_POINTS:
        raise ValueError(f"mask: a polygon of {len(polygon)} numbers; expected x, y for each of 3 points or more")
    points = _numbers(polygon, "polygon")
    side = 2 * max(size_hw)
    if (np.abs(points) > side).any():
        raise ValueError(f"mask: a polygon reaches further than {side} pixels from the image's corner")
    return points


def _length_px(outline: NDArray[np.float64]) -> float:
    points = outline.reshape(-1, 2)
    return float(np.abs(np.diff(points, axis=0, append=points[:1])).max(axis=1).sum())


def _numbers(values: Any, what: str) -> NDArray[np.float64]:
    try:
        numbers = np.array([float(value) for value in values], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"mask: {what} must be numbers") from None
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"mask: {what} must be finite numbers")
    return numbers


def _from_png(data: bytes, size_hw: tuple[int, int]) -> EncodedMask:
    """Every pixel that is not black is inside. Refused is what may not mean that: lossy, transparent or 16 bits."""
    if (kind := sniff_format(data)[0]) != "png":
        raise ValueError(f"mask: {kind} bytes; expected PNG, which is lossless")
    height, width = size_hw
    try:
        decoded = decode_image(data, max_pixels=height * width)
    except ImageError as error:
        raise ValueError(f"mask: {error}") from None
    if decoded.notes:
        raise ValueError(f"mask: a PNG with more than plain 8-bit pixels ({decoded.notes[0]})")
    _check_size(decoded.size_hw, size_hw)
    return encode_mask(decoded.rgb.max(axis=2) > 0)
