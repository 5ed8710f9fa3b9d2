"""Datumaro's own format: items with annotations as run lengths or polygons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.review.readers.documents import (
    an_object,
    fault,
    loose_text,
    objects,
    required_text,
    shown,
    size_hw,
    text,
)
from litelvlm.pipeline.review.readers.pixels import from_coco, from_rings
from litelvlm.pipeline.review.readers.regions import region_of
from litelvlm.pipeline.review.reviewed import Review, ReviewedImage, ReviewedRegion

Size = tuple[int, int] | None


def read_datumaro(content: Any, place: str) -> Iterator[ReviewedImage]:
    """Every item of a file, each with one review by nobody in particular; other annotations than areas are left out.

    Raises ValueError naming the item or annotation and what is wrong with it.
    """
    whole = an_object(content, place)
    categories = an_object(whole.get("categories") or {}, place, "an object of categories")
    label = an_object(categories.get("label") or {}, place, "an object of labels")
    labels = [loose_text(one.get("name")) for one in objects(label.get("labels"), place, "labels")]
    for item in objects(whole.get("items"), place, "items"):
        yield _image(item, labels, f"{place}: item {shown(item.get('id'))}")


def _image(item: dict[str, Any], labels: list[str | None], place: str) -> ReviewedImage:
    image = an_object(item.get("image") or item.get("media") or {}, place, "an object of the image")
    told = image.get("size")
    if told is not None and (not isinstance(told, list) or len(told) != 2):
        raise fault(place, "its image's size is not [height, width]")
    size = None if told is None else size_hw(told[0], told[1], place)
    attributes = an_object(item.get("attr") or {}, place, "an object of attributes")
    regions = (
        _region(one, size, labels, f"{place}, annotation {shown(one.get('id'))}")
        for one in objects(item.get("annotations"), place, "annotations")
    )
    return ReviewedImage(
        file_name=text(image.get("path"), place, "path") or required_text(item.get("id"), place, "id"),
        size_hw=size,
        reviews=(Review(regions=tuple(region for region in regions if region is not None)),),
        place=place,
        image_id=text(attributes.get("source_id"), place, "source_id"),
    )


def _region(one: dict[str, Any], size: Size, labels: list[str | None], place: str) -> ReviewedRegion | None:
    kind, number = one.get("type"), one.get("label_id")
    if kind not in ("mask", "polygon"):
        return None
    has_label = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(labels)
    return region_of(
        _mask(one, kind, size, place),
        an_object(one.get("attributes") or {}, place, "an object of attributes"),
        place,
        label=labels[number] if has_label else None,  # type: ignore[index]  # an int then
        is_lossy=kind == "polygon",
    )


def _mask(one: dict[str, Any], kind: str, size: Size, place: str) -> EncodedMask | None:
    if kind == "mask":
        rle = an_object(one.get("rle"), place, "run lengths")
        told = rle.get("size")
        if size is None and isinstance(told, list) and len(told) == 2:
            size = size_hw(told[0], told[1], place)
    if size is None:
        raise fault(place, "its image has no size")
    return from_coco(one["rle"], size, place) if kind == "mask" else from_rings([one.get("points")], size, place)
