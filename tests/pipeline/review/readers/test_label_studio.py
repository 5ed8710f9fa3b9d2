"""Label Studio's export: whose review counts, what a region is, and what the tool is known to leave."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.masks import decode_mask, encode_mask, mask_iou
from litelvlm.pipeline.review.readers.label_studio import read_label_studio
from litelvlm.pipeline.review.reviewed import Review, ReviewedImage
from tests.pipeline.review.readers.written import KEYS, NAME, SIZE, label_studio_region, label_studio_task, masks, png

FOUND = masks()


def _image(task: dict[str, Any]) -> ReviewedImage:
    (image,) = read_label_studio([task], "f")
    return image


def _review(*results: dict[str, Any], **data: Any) -> Review:
    task = label_studio_task([], result=list(results))
    task["data"] |= data
    (review,) = _image(task).reviews
    return review


def _region(index: int = 0, **changed: Any) -> dict[str, Any]:
    return label_studio_region(index, FOUND[index]) | changed


def _choice(name: str, key: str, *choices: str) -> dict[str, Any]:
    return {"id": key, "type": "choices", "from_name": name, "to_name": "image", "value": {"choices": list(choices)}}


def test_a_task_is_an_image_with_a_review() -> None:
    image = _image(label_studio_task(FOUND[:2]))
    assert (image.file_name, image.image_id, image.size_hw, image.place) == (NAME, "row 1", SIZE, "f: task 7")
    assert image.records == tuple(KEYS[:9])
    (review,) = image.reviews
    assert (review.reviewer, review.reviewed_at, review.lead_time_s) == ("ann@example.org", 1793527500.0, 12.5)


def test_tasks_that_nobody_has_looked_at() -> None:
    nothing: list[Any] | None
    for nothing in ([], None):
        image = _image(label_studio_task([]) | {"annotations": nothing})
        assert (image.reviews, image.size_hw) == ((), None)
    image = _image({"data": {"image": "a.png", "width": 31, "height": 23}, "predictions": [{"result": [_region()]}]})
    assert (image.reviews, image.size_hw, image.records) == ((), SIZE, None)


def test_of_a_user_the_newest_counts_and_cancelled_ones_are_none() -> None:
    def made(user: Any, at: str, index: int, **more: Any) -> dict[str, Any]:
        return {"id": index, "completed_by": user, "updated_at": at, "result": [_region(index)]} | more

    task = label_studio_task([])
    task["annotations"] = [
        made(2, "2026-11-03T00:00:00Z", 0),
        made(1, "2026-11-01T00:00:00Z", 1),
        made(1, "2026-11-02T00:00:00Z", 2),
        made(1, "2026-11-09T00:00:00Z", 3, was_cancelled=True),
        made(None, "2026-10-01T00:00:00Z", 4),
        made(None, "2026-12-01T00:00:00Z", 5),
        made({"id": 2, "email": ""}, "2026-11-02T12:00:00Z", 6),
    ]
    found = _image(task).reviews
    assert [(one.reviewer, one.regions[0].record) for one in found] == [
        *((None, KEYS[4]), ("1", KEYS[2])),
        *(("2", KEYS[0]), (None, KEYS[5])),
    ]
    assert sorted(one.reviewed_at or 0 for one in found) == [one.reviewed_at for one in found]


def test_regions_by_their_ids() -> None:
    manual = _region(1, id="x7Gh_2-aQ")
    first, second = _review(_region(0), manual).regions
    assert (first.record, second.record) == (KEYS[0], None)
    text = {"id": KEYS[0], "type": "textarea", "value": {"text": "a  cat", "rle": [0]}}
    (region,) = _review(_region(0), text).regions
    assert region.phrase == "a  cat"
    with pytest.raises(ValueError, match=f"region {KEYS[0]}: stands there twice"):
        _review(_region(0), _region(0))


def test_what_choices_say() -> None:
    review = _review(
        _region(0),
        _region(1),
        _region(2),
        _choice("verdict", KEYS[0], "accepted"),
        _choice("verdict", KEYS[1], "Reject"),
        _choice("verdict", KEYS[2], "unsure"),
        _choice("absent", "whole", "a red dog", KEYS[5], "a cat", "a cat"),
        record_of={"a red dog": KEYS[4]},
    )
    assert [one.said for one in review.regions] == ["accepted", "rejected", None]
    assert review.absent == (KEYS[4], KEYS[5], "a cat")


def test_soft_edges_are_inside_from_128_on_and_all_zero_is_no_region() -> None:
    levels = np.zeros(SIZE, np.uint8)
    levels[3, 3:6] = 127, 128, 255
    url = "data:image/png;base64," + base64.b64encode(png(levels)).decode()
    bitmask = _region(type="bitmasklabels", value={"imageDataURL": url, "bitmasklabels": ["x"]})
    (region,) = _review(bitmask).regions
    assert (region.mask, region.label) == (encode_mask(levels >= 128), "x")
    assert not _review(label_studio_region(0, np.zeros(SIZE, bool))).regions


def test_polygons_are_lossy_and_in_percent() -> None:
    expected = np.zeros(SIZE, bool)
    expected[4:20, 5:25] = True
    points = [[100 * x / SIZE[1], 100 * y / SIZE[0]] for x, y in ((5, 4), (25, 4), (25, 20), (5, 20))]
    (region,) = _review(_region(type="polygonlabels", value={"points": points, "polygonlabels": ["box"]})).regions
    assert (region.is_lossy, region.label) == (True, "box")
    assert mask_iou(region.mask, encode_mask(expected)) > 0.98


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("/data/upload/12/0a1b2c3d-b%20c.png", "b c.png"),
        ("http://localhost:8080/data/upload/12/0a1b2c3d-b.png", "b.png"),
        ("/data/local-files/?d=a%2Fb%20c.png", "a/b c.png"),
        ("https://host/x/data/local-files?d=a/b.png", "a/b.png"),
        ("https://host/a/b%20c.png?X-Amz-Signature=1", "https://host/a/b c.png"),
        ("s3://bucket/a/b%20c.png", "s3://bucket/a/b%20c.png"),
        ("a/b%20c.png", "a/b c.png"),
        ("http://[", "http://["),
    ],
)
def test_names_of_images(image: str, expected: str) -> None:
    assert _image({"data": {"image": image}}).file_name == expected


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"image_rotation": 90}, "turned by 90 degrees"),
        ({"original_width": SIZE[0], "original_height": SIZE[1]}, "EXIF"),
        ({"original_width": 5}, r"23x5, elsewhere the task's is 23x31 \(height x width\)"),
        ({"original_width": None}, "width is no whole number"),
        ({"original_width": 10**6, "original_height": 10**6}, "limit"),
        ({"type": "rectanglelabels"}, "is a rectanglelabels; expected brush"),
        ({"id": None}, "has no id"),
        ({"value": None}, "expected an object of a value"),
        ({"value": {"format": "png"}}, "format png; expected rle"),
        ({"value": {"format": "rle", "rle": [0]}}, "header"),
        ({"score": "high"}, "score is no finite number"),
        ({"type": "bitmask", "value": {}}, "bitmap"),
        ({"type": "polygon", "value": {"points": [1]}}, "points"),
        ({"type": "polygon", "value": {"points": [[None, 1]] * 3}}, "point"),
        ({"type": "polygon", "value": {"points": [[1e300, 1]] * 3}}, "polygon"),
    ],
)
def test_regions_that_are_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        _review(_region(1), _region(0, **changed), width=SIZE[1], height=SIZE[0])
    assert "task 7, annotation 70, region" in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data": None}, "expected an object of data"),
        ({"data": {}}, "has no data.file_name or data.image"),
        ({"data": {"image": "a", "records": "x"}}, "data.records"),
        ({"data": {"image": "a", "records": [{}]}}, "data.records"),
        ({"data": {"image": "a", "width": -1, "height": 5}}, "no size"),
        ({"annotations": [5]}, "annotations is no list of objects"),
        ({"annotations": [{"updated_at": "x"}]}, "updated_at is no time"),
        ({"annotations": [{"lead_time": "x"}]}, "lead_time"),
        ({"annotations": [{"completed_by": []}]}, "completed_by"),
        ({"annotations": [{"result": [{"type": "choices", "id": "a", "value": {"choices": 5}}]}]}, "choices"),
    ],
)
def test_tasks_that_are_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _image(label_studio_task([]) | changed)


def test_masks_are_those_that_were_left() -> None:
    for region, mask in zip(_review(*map(_region, range(len(FOUND)))).regions, FOUND, strict=True):
        assert (decode_mask(region.mask) == mask).all()
