"""Masks of whole images from what tools keep of them: run lengths of a crop, pixels, outlines, PNG files."""

from __future__ import annotations

import binascii
import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from litelvlm.pipeline.images.bombs import find_bomb
from litelvlm.pipeline.images.sniff import sniff_format
from litelvlm.pipeline.masks import EncodedMask, encode_mask
from litelvlm.pipeline.review.readers.documents import fault, shown
from litelvlm.pipeline.table.true_masks import parse_mask

INSIDE = 128  # of 255: what a pixel that a brush touched in part must have
_URL_START = "data:image/png;base64,"
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
_SWAPPED = "the image's, with height and width exchanged: was it turned by its EXIF orientation?"


def from_coco(segmentation: Any, size_hw: tuple[int, int], place: str) -> EncodedMask:
    """Of COCO's run lengths, compressed or not, or a list of polygons, which are united. Raises ValueError."""
    if isinstance(segmentation, dict):
        check_size(segmentation.get("size"), size_hw, place)
    try:
        mask = parse_mask(segmentation, size_hw) if isinstance(segmentation, dict | list) else None
    except ValueError as error:
        raise fault(place, str(error)) from None
    if mask is None:
        raise fault(place, f"its mask is {shown(segmentation)}; expected run lengths or polygons")
    return mask


def check_size(size: Any, size_hw: tuple[int, int], place: str) -> None:
    """Raises ValueError where a `[height, width]` is not that of the image."""
    if isinstance(size, list | tuple) and tuple(size) == size_hw:
        return
    if isinstance(size, list | tuple) and tuple(size) == size_hw[::-1]:
        raise fault(place, f"its mask is {size[0]}x{size[1]}, {_SWAPPED}")
    told = "x".join(map(shown, size[:4])) if isinstance(size, list | tuple) else shown(size)
    raise fault(place, f"its mask is of an image of {told}, the image is {size_hw[0]}x{size_hw[1]} (height x width)")


def from_rings(rings: Any, size_hw: tuple[int, int], place: str) -> EncodedMask | None:
    """Of flat lists `[x, y, x, y, …]` in pixels, united; None where no list has three points. Raises ValueError."""
    if not isinstance(rings, list) or not all(isinstance(ring, list) for ring in rings):
        raise fault(place, "its polygons are no lists of numbers")
    areas = [ring for ring in rings if len(ring) >= 6 or len(ring) % 2]
    return from_coco(areas, size_hw, place) if areas else None


def from_crop_runs(
    runs: Sequence[Any], size_hw: tuple[int, int], box_xywh: tuple[int, int, int, int], place: str
) -> EncodedMask:
    """Of run lengths, of zeros first, along the rows of a box in pixels. Raises ValueError."""
    left, top, width, height = box_xywh
    _check_box(size_hw, box_xywh, place)
    if len(runs) > width * height + 2:
        raise fault(place, f"{len(runs)} run lengths are too many for a box of {height}x{width}")
    lengths = _numbers(runs, place)
    if (lengths != np.floor(lengths)).any() or (lengths < 0).any() or lengths.sum() != width * height:
        raise fault(place, f"its run lengths do not fill its box of {height}x{width}")
    inside = np.repeat(np.arange(lengths.size) % 2 == 1, lengths.astype(np.int64)).reshape(height, width)
    return from_crop(inside, size_hw, (left, top), place)


def from_crop(
    inside: NDArray[np.bool_], size_hw: tuple[int, int], corner_xy: tuple[int, int], place: str
) -> EncodedMask:
    """Of the (h, w) pixels of a box and its upper left corner. Raises ValueError where they reach out of the image."""
    left, top = corner_xy
    height, width = inside.shape
    _check_box(size_hw, (left, top, width, height), place)
    whole = np.zeros(size_hw, np.bool_)
    whole[top : top + height, left : left + width] = inside
    return encode_mask(whole)


def from_data_url(url: Any, size_hw: tuple[int, int], place: str) -> EncodedMask:
    """Of a PNG as a `data:` URL: by its transparency where it has some, else by its brightest channel.

    Raises ValueError where it is no such file, or not of the image's size.
    """
    if not isinstance(url, str) or not url.startswith(_URL_START):
        raise fault(place, f"its bitmap does not begin with {_URL_START}")
    try:
        data = binascii.a2b_base64(url[len(_URL_START) :])
    except ValueError:
        raise fault(place, "its bitmap is no base64") from None
    return encode_mask(_levels(data, size_hw, place) >= INSIDE)


def _levels(data: bytes, size_hw: tuple[int, int], place: str) -> NDArray[np.uint8]:
    if sniff_format(data)[0] != "png":
        raise fault(place, "its bitmap is no PNG file")
    if (bomb := find_bomb("png", data, size_hw[0] * size_hw[1])) is not None:
        raise fault(place, f"its bitmap is {bomb[1]}")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            check_size([image.height, image.width], size_hw, place)
            if image.mode not in _MODES:
                raise fault(place, f"its bitmap has pixels of the kind {image.mode}; expected 8 bits")
            rgba = np.asarray(image.convert("RGBA"))
    except (OSError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise fault(place, f"its bitmap is a damaged PNG file: {str(error)[:100]}") from None
    alpha: NDArray[np.uint8] = rgba[..., 3]
    return alpha if (alpha < 255).any() else rgba[..., :3].max(axis=2)


def _check_box(size_hw: tuple[int, int], box_xywh: tuple[int, int, int, int], place: str) -> None:
    left, top, width, height = box_xywh
    if width < 1 or height < 1 or left < 0 or top < 0 or left + width > size_hw[1] or top + height > size_hw[0]:
        raise fault(
            place,
            f"its box of {height}x{width} at row {top}, column {left} is not within {size_hw[0]}x{size_hw[1]}: "
            "was the image turned by its EXIF orientation?",
        )


def _numbers(values: Sequence[Any], place: str) -> NDArray[np.float64]:
    try:
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
            raise TypeError
        found = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise fault(place, "its run lengths are no numbers") from None
    if not np.isfinite(found).all():
        raise fault(place, "its run lengths are no finite numbers")
    return found
