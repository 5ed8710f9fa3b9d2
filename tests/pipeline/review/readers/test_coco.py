"""COCO files as the tools write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.export.outlines import trace
from litelvlm.pipeline.masks import encode_mask, mask_iou
from litelvlm.pipeline.review.readers.coco import read_coco
from tests.pipeline.review.readers.written import NAME, SIZE, coco, masks

FOUND = masks()


@pytest.mark.parametrize("compressed", [True, False])
def test_masks_are_no_crowds_however_they_are_written(compressed: bool) -> None:
    (image,) = read_coco(coco(FOUND, compressed=compressed), "f")
    assert (image.file_name, image.size_hw, image.image_id, image.place) == (NAME, SIZE, "row 1", "f: image 1")
    (review,) = image.reviews
    assert (review.reviewer, review.reviewed_at) == (None, None)
    assert [one.mask for one in review.regions] == [encode_mask(mask) for mask in FOUND]
    assert not any(one.is_lossy for one in review.regions)


def test_polygons_are_united_and_lossy() -> None:
    content = coco(FOUND)
    for one, mask in zip(content["annotations"], FOUND, strict=True):
        rings = trace(encode_mask(mask), 0).rings
        one["segmentation"] = [ring.ravel().tolist() for ring in rings]
    (image,) = read_coco(content, "f")
    regions = image.reviews[0].regions
    assert all(one.is_lossy for one in regions)
    assert all(mask_iou(one.mask, encode_mask(mask)) > 0.9 for one, mask in zip(regions, FOUND, strict=True))


@pytest.mark.parametrize("nothing", [[], None, [[1, 1, 2, 2]], {"size": list(SIZE), "counts": [SIZE[0] * SIZE[1]]}])
def test_regions_from_nothing_are_none(nothing: Any) -> None:
    content = coco(FOUND[:2])
    content["annotations"][0]["segmentation"] = nothing
    (image,) = read_coco(content, "f")
    assert len(image.reviews[0].regions) == 1


def test_a_box_without_an_outline_is_a_region_whose_shape_was_lost() -> None:
    content = coco(FOUND[:3])
    for one, box in zip(content["annotations"], ([4, 4, 0, 2], [4, 4, 2, 2], None), strict=True):
        one |= {"segmentation": [], "bbox": box}
    (image,) = read_coco(content, "f")
    assert image.reviews[0].regions == ()
    assert image.reviews[0].shapeless == (content["annotations"][1]["attributes"]["record"],)


def test_images_without_annotations_are_reviewed_and_others_are_not_there() -> None:
    content = coco([])
    content["images"].append({"id": "2", "file_name": "b"})
    assert [(one.file_name, one.size_hw, one.reviews[0].regions) for one in read_coco(content, "f")] == [
        (NAME, SIZE, ()),
        ("b", None, ()),
    ]


def test_a_mask_tells_the_size_where_the_image_does_not() -> None:
    content = coco(FOUND[:1])
    del content["images"][0]["height"], content["images"][0]["width"]
    (image,) = read_coco(content, "f")
    assert image.reviews[0].regions[0].mask == encode_mask(FOUND[0])
    content["annotations"][0]["segmentation"] = [[0, 0, 5, 0, 5, 5]]
    with pytest.raises(ValueError, match="its image has no height and width"):
        list(read_coco(content, "f"))


@pytest.mark.parametrize(
    ("where", "changed", "words"),
    [
        ("annotations", {"segmentation": encode_mask(FOUND[0].T).as_coco()}, "EXIF"),
        ("annotations", {"segmentation": {"size": list(SIZE), "counts": "000"}}, "do not fill"),
        ("annotations", {"segmentation": {"size": list(SIZE), "counts": [1, 2]}}, "do not fill"),
        ("annotations", {"segmentation": {"size": list(SIZE), "counts": [float("inf")]}}, "finite"),
        ("annotations", {"segmentation": [5]}, "polygons"),
        ("annotations", {"segmentation": "x"}, "its mask is x"),
        ("annotations", {"image_id": 9}, "not among the images"),
        ("annotations", {"image_id": []}, "image_id is no text"),
        ("annotations", {"attributes": [1]}, "object of attributes"),
        ("annotations", {"score": "high"}, "score"),
        ("images", {"height": 10**6, "width": 10**6}, "limit"),
        ("images", {"height": -3}, "no size"),
        ("images", {"file_name": None}, "no file_name"),
        ("images", {"id": None}, "no id"),
    ],
)
def test_what_is_refused(where: str, changed: dict[str, Any], words: str) -> None:
    content = coco(FOUND[:1])
    content[where][0] |= changed
    with pytest.raises(ValueError, match=words) as caught:
        list(read_coco(content, "f"))
    assert "1" in str(caught.value) or "image" in str(caught.value)


def test_an_id_stands_for_one_image() -> None:
    content = coco([])
    content["images"] *= 2
    with pytest.raises(ValueError, match="two images of the id 1"):
        list(read_coco(content, "f"))


def test_holes_survive() -> None:
    mask = np.ones(SIZE, bool)
    mask[5:8, 5:9] = False
    (image,) = read_coco(coco([mask]), "f")
    assert image.reviews[0].regions[0].mask == encode_mask(mask)
