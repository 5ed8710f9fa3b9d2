"""Datumaro's own format."""

from __future__ import annotations

from typing import Any

import pytest

from litelvlm.pipeline.masks import encode_mask, mask_iou
from litelvlm.pipeline.review.readers.datumaro import read_datumaro
from tests.pipeline.review.readers.written import NAME, SIZE, datumaro, masks

FOUND = masks()


def test_items_are_images() -> None:
    (image,) = read_datumaro(datumaro(FOUND), "f")
    assert (image.file_name, image.size_hw, image.image_id) == (NAME, SIZE, "row 1")
    assert [one.mask for one in image.reviews[0].regions] == [encode_mask(mask) for mask in FOUND]


def test_an_item_without_an_image_goes_by_its_id() -> None:
    content = datumaro(FOUND[:1])
    del content["items"][0]["image"]
    (image,) = read_datumaro(content, "f")
    assert (image.file_name, image.size_hw) == ("a/b c", None)
    assert image.reviews[0].regions[0].mask == encode_mask(FOUND[0])


def test_polygons_are_lossy_and_what_is_no_area_is_left_out() -> None:
    content = datumaro([])
    content["items"][0]["annotations"] = [
        {"id": 0, "type": "polygon", "label_id": 0, "points": [2.0, 2.0, 12.0, 2.0, 12.0, 12.0, 2.0, 12.0]},
        {"id": 1, "type": "label", "label_id": 0},
        {"id": 2, "type": "bbox", "bbox": [0, 0, 1, 1], "label_id": 7},
    ]
    (image,) = read_datumaro(content, "f")
    (region,) = image.reviews[0].regions
    assert (region.is_lossy, region.label, region.record) == (True, "thing", None)
    mask = FOUND[0] & False
    mask[2:12, 2:12] = True
    assert mask_iou(region.mask, encode_mask(mask)) > 0.95


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rle": encode_mask(FOUND[0].T).as_coco()}, "EXIF"),
        ({"rle": None}, "run lengths"),
        ({"rle": {"size": list(SIZE)}}, "mask"),
        ({"type": "polygon", "points": None}, "polygons"),
        ({"attributes": 5}, "attributes"),
    ],
)
def test_annotations_that_are_refused(changed: dict[str, Any], words: str) -> None:
    content = datumaro(FOUND[:1])
    content["items"][0]["annotations"][0] |= changed
    with pytest.raises(ValueError, match=words) as caught:
        list(read_datumaro(content, "f"))
    assert "item a/b c, annotation 0" in str(caught.value)


@pytest.mark.parametrize("image", [{"size": 5}, {"size": [1, 2, 3]}, {"size": [10**6, 10**6]}, 5])
def test_items_that_are_refused(image: Any) -> None:
    content = datumaro([])
    content["items"][0]["image"] = image
    with pytest.raises(ValueError, match="item a/b c"):
        list(read_datumaro(content, "f"))
