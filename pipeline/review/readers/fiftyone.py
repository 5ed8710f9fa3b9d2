"""FiftyOne's own export: `samples.json`, with masks as compressed arrays of their boxes."""

from __future__ import annotations

import binascii
import io
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.review.readers.documents import (
    an_object,
    fault,
    loose_text,
    number,
    objects,
    required_text,
    shown,
    size_hw,
    text,
    verdict,
)
from litelvlm.pipeline.review.readers.pixels import from_crop
from litelvlm.pipeline.review.readers.regions import region_of
from litelvlm.pipeline.review.reviewed import Review, ReviewedImage, ReviewedRegion

_ATTRIBUTES = ("record", "phrase", "review", "score")
# What numpy writes before an array of two dimensions, without Python objects in it.
_NPY = re.compile(
    rb"\x93NUMPY[\x01-\x03]\x00.{2,4}?\{'descr': '[<>|][biuf](?P<bytes>[1248])', 'fortran_order': (?:True|False), "
    rb"'shape': \((?P<height>\d{1,9}), (?P<width>\d{1,9})\), \} *\n",
    re.DOTALL,
)
_HEADER_BYTES = 4096


def read_fiftyone(content: Any, place: str) -> Iterator[ReviewedImage]:
    """Every sample of an export, each with one review by nobody in particular. Detections without a mask are left out.

    Raises ValueError naming the sample or detection and what is wrong with it, or that there are masks in several
    fields.
    """
    whole = an_object(content, place)
    fields: set[str] = set()
    for index, sample in enumerate(objects(whole.get("samples"), place, "samples"), start=1):
        own = {name for name, value in sample.items() if _has_masks(value)}
        fields |= own
        if len(fields) > 1:
            names = ", ".join(map(shown, sorted(fields)))
            raise fault(place, f"has masks in several fields: {names}; export a view with one of them")
        yield _image(sample, own, f"{place}: sample {shown(_id(sample) or index)}")


def _id(one: Mapping[str, Any]) -> str | None:
    value = one.get("_id") or one.get("id")
    return loose_text(value.get("$oid")) if isinstance(value, dict) else loose_text(value)


def _has_masks(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("_cls") != "Detections":
        return False
    found = value.get("detections")
    return isinstance(found, list) and any(isinstance(one, dict) and _has_mask(one) for one in found)


def _has_mask(detection: Mapping[str, Any]) -> bool:
    return detection.get("mask") is not None or detection.get("mask_path") is not None


def _image(sample: dict[str, Any], fields: set[str], place: str) -> ReviewedImage:
    metadata = an_object(sample.get("metadata") or {}, place, "an object of metadata")
    has_size = metadata.get("height") is not None
    size = size_hw(metadata["height"], metadata.get("width"), place) if has_size else None
    regions = []
    for name in fields:
        for index, one in enumerate(objects(sample[name].get("detections"), place, shown(name)), start=1):
            region = _region(one, size, f"{place}, detection {shown(_id(one) or index)}") if _has_mask(one) else None
            if region is not None:
                regions.append(region)
    name = required_text(sample.get("filepath"), place, "filepath")
    return ReviewedImage(
        file_name=name.replace("\\", "/"),
        size_hw=size,
        reviews=(Review(regions=tuple(regions)),),
        place=place,
        image_id=text(sample.get("source_id"), place, "source_id"),
    )


def _region(one: Mapping[str, Any], size: tuple[int, int] | None, place: str) -> ReviewedRegion | None:
    if size is None:
        raise fault(place, "its sample has no metadata; call dataset.compute_metadata() before the export")
    if one.get("mask") is None:
        raise fault(place, "its mask is a file of its own (mask_path), which is not read; call import_mask() before")
    pixels = _array(one["mask"], size, place)
    mask, is_lossy = _placed(pixels, one.get("bounding_box"), size, place)
    attributes = _attributes(one, place)
    tags = one.get("tags")
    said = {verdict(tag) for tag in tags} - {None} if isinstance(tags, list) else set()
    if len(said) == 1:
        attributes["review"] = said.pop()
    return region_of(
        mask,
        attributes,
        place,
        label=loose_text(one.get("label")),
        is_lossy=is_lossy,
        score=one.get("confidence"),
    )


def _attributes(one: Mapping[str, Any], place: str) -> dict[str, Any]:
    """What is set on the detection itself, or among its attributes as it is or as an object with a value."""
    nested = an_object(one.get("attributes") or {}, place, "an object of attributes")
    found = {}
    for name in _ATTRIBUTES:
        value = one.get(name, nested.get(name))
        found[name] = value.get("value") if isinstance(value, dict) else value
    return found


def _array(value: Any, size: tuple[int, int], place: str) -> NDArray[np.bool_]:
    """The (h, w) pixels of a box: zlib over numpy's format over base64."""
    if isinstance(value, dict):
        value = value.get("$binary")
        value = value.get("base64") if isinstance(value, dict) else value
    if not isinstance(value, str):
        raise fault(place, "its mask is no text of base64")
    limit = 8 * size[0] * size[1] + _HEADER_BYTES
    try:
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(binascii.a2b_base64(value), limit)
    except (ValueError, zlib.error):
        raise fault(place, "its mask is no compressed array") from None
    header = _NPY.match(data[:_HEADER_BYTES])
    if header is None:
        raise fault(place, "its mask is no array of two dimensions of numbers")
    pixels = int(header["height"]) * int(header["width"])
    if not unpacking.eof or pixels * int(header["bytes"]) != len(data) - header.end() or not pixels:
        raise fault(place, "its mask is not as large as it says, or larger than its image")
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
        return np.asarray(found != 0).reshape(int(header["height"]), int(header["width"]))
    except (ValueError, TypeError, EOFError, OSError, SyntaxError) as error:
        raise fault(place, f"its mask is a damaged array: {str(error)[:100]}") from None


def _placed(pixels: NDArray[np.bool_], box: Any, size: tuple[int, int], place: str) -> tuple[EncodedMask | None, bool]:
    """The mask, and whether the box was drawn anew in another size, to which its pixels are then stretched."""
    if not isinstance(box, list) or len(box) != 4:
        raise fault(place, "its bounding_box is no [x, y, width, height]")
    sides = [number(side, place, "a side of its bounding_box") for side in box]
    x, y, width, height = (side if side is not None else -1.0 for side in sides)
    if not (0 <= width <= 1.001 and 0 <= height <= 1.001 and -1 <= x <= 1 and -1 <= y <= 1):
        raise fault(place, "its bounding_box is not within its image, whose sides are 1")
    left, top = round(x * size[1]), round(y * size[0])
    right, bottom = round((x + width) * size[1]), round((y + height) * size[0])
    is_stretched = abs(right - left - pixels.shape[1]) > 1 or abs(bottom - top - pixels.shape[0]) > 1
    if is_stretched:
        if right <= left or bottom <= top:
            return None, True
        shape = (right - left, bottom - top)
        pixels = np.asarray(Image.fromarray(pixels).resize(shape, Image.Resampling.NEAREST))
    rows = slice(max(-top, 0), max(min(size[0] - top, pixels.shape[0]), 0))
    columns = slice(max(-left, 0), max(min(size[1] - left, pixels.shape[1]), 0))
    inside = pixels[rows, columns]
    return (from_crop(inside, size, (max(left, 0), max(top, 0)), place) if inside.size else None), is_stretched
