"""COCO instances as CVAT, FiftyOne, datumaro and this project write them.

`iscrowd` tells how a mask is written and nothing else: CVAT writes every mask as uncompressed run lengths with 1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.review.readers.documents import (
    an_object,
    fault,
    integer,
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


def read_coco(content: Any, place: str) -> Iterator[ReviewedImage]:
    """Every image of a file, each with one review by nobody in particular.

    Raises ValueError naming the image or annotation and what is wrong with it.
    """
    whole = an_object(content, place)
    labels = {
        text(one.get("id"), place, "category id"): loose_text(one.get("name"))
        for one in objects(whole.get("categories"), place, "categories")
    }
    images = {}
    for one in objects(whole.get("images"), place, "images"):
        key = required_text(one.get("id"), f"{place}: an image", "id")
        if key in images:
            raise fault(place, f"has two images of the id {shown(key)}")
        images[key] = one
    annotations: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in objects(whole.get("annotations"), place, "annotations"):
        where = f"{place}: annotation {shown(one.get('id'))}"
        key = required_text(one.get("image_id"), where, "image_id")
        if key not in images:
            raise fault(where, f"is of image {shown(key)}, which is not among the images")
        annotations[key].append(one)
    for key, image in images.items():
        yield _image(image, annotations[key], labels, f"{place}: image {shown(key)}")


def _image(
    image: dict[str, Any], annotations: list[dict[str, Any]], labels: Mapping[str | None, str | None], place: str
) -> ReviewedImage:
    has_size = image.get("height") is not None or image.get("width") is not None
    size = size_hw(image.get("height"), image.get("width"), place) if has_size else None
    regions = (_region(one, size, labels, f"{place}, annotation {shown(one.get('id'))}") for one in annotations)
    return ReviewedImage(
        file_name=required_text(image.get("file_name"), place, "file_name"),
        size_hw=size,
        reviews=(
            Review(
                regions=tuple(region for region in regions if region is not None),
                shapeless=tuple(filter(None, (_shapeless(one, place) for one in annotations))),
            ),
        ),
        place=place,
        image_id=text(image.get("source_id"), place, "source_id"),
    )


def _region(
    one: dict[str, Any], size: tuple[int, int] | None, labels: Mapping[str | None, str | None], place: str
) -> ReviewedRegion | None:
    segmentation = one.get("segmentation")
    attributes = an_object(one.get("attributes") or {}, place, "an object of attributes")
    return region_of(
        _mask(segmentation, size, place),
        attributes,
        place,
        label=labels.get(text(one.get("category_id"), place, "category_id")),
        is_lossy=isinstance(segmentation, list),
        score=one.get("score"),
    )


def _shapeless(one: dict[str, Any], place: str) -> str | None:
    """The record of an annotation that has a box and no outline: datumaro finds none for single pixels and lines."""
    box = one.get("bbox")
    if one.get("segmentation") != [] or not isinstance(box, list) or len(box) != 4:
        return None
    if not all(isinstance(side, int | float) for side in box) or min(box[2:]) <= 0:
        return None
    attributes = an_object(one.get("attributes") or {}, place, "an object of attributes")
    return text(attributes.get("record"), place, "attribute record")


def _mask(segmentation: Any, size: tuple[int, int] | None, place: str) -> EncodedMask | None:
    if not segmentation:
        return None
    if size is None:
        size = _own_size(segmentation, place)
    if isinstance(segmentation, list):
        return from_rings(segmentation, size, place)
    return from_coco(segmentation, size, place)


def _own_size(segmentation: Any, place: str) -> tuple[int, int]:
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    if not isinstance(size, list) or len(size) != 2:
        raise fault(place, "its image has no height and width")
    return size_hw(integer(size[0], place, "height"), integer(size[1], place, "width"), place)
