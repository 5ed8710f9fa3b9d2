"""CVAT for images 1.1."""

from __future__ import annotations

import pytest

from litelvlm.pipeline.masks import encode_mask, mask_iou
from litelvlm.pipeline.review.readers.cvat_xml import read_cvat_xml
from litelvlm.pipeline.review.readers.documents import read_xml
from litelvlm.pipeline.review.reviewed import ReviewedImage
from tests.pipeline.review.readers.written import NAME, SIZE, cvat_xml, masks

FOUND = masks()


def _read(data: bytes) -> list[ReviewedImage]:
    return list(read_cvat_xml(read_xml(data, "f"), "f"))


def _with(shape: str, image: str = f'id="0" name="{NAME}" width="{SIZE[1]}" height="{SIZE[0]}"') -> bytes:
    return f"<annotations><image {image}>{shape}</image></annotations>".encode()


def test_images_are_reviewed_by_the_assignee() -> None:
    (image,) = _read(cvat_xml(FOUND))
    assert (image.file_name, image.size_hw, image.place) == (NAME, SIZE, "f: image 0")
    (review,) = image.reviews
    assert (review.reviewer, review.reviewed_at) == ("ann", 1793527500.0)
    assert [one.mask for one in review.regions] == [encode_mask(mask) for mask in FOUND]


def test_of_a_project_each_task_has_its_own() -> None:
    tasks = "".join(
        f"<task><id>{n}</id><assignee>{name}</assignee></task>"
        for n, name in ((4, "<username>bob</username>"), (5, ""))
    )
    images = "".join(f'<image id="{n}" name="{n}" task_id="{n}" width="2" height="2"/>' for n in (4, 5, 6))
    found = _read(f"<annotations><meta><project><tasks>{tasks}</tasks></project></meta>{images}</annotations>".encode())
    assert [one.reviews[0].reviewer for one in found] == ["bob", None, None]


def test_boxes_around_masks_are_left_out_and_others_refused() -> None:
    mask = '<mask label="a" left="1" top="1" width="2" height="1" rle="0,2"/>'
    box = '<box label="{}" xtl="1.00" ytl="{}" xbr="3.00" ybr="2.00"/>'
    (image,) = _read(_with(box.format("a", "1.00") + mask))
    assert len(image.reviews[0].regions) == 1
    for other in (box.format("b", "1.00"), box.format("a", "0.00"), "<box/>", '<box label="a" xtl="nan" ytl="1"/>'):
        with pytest.raises(ValueError, match="box 2: is no area that is read"):
            _read(_with(mask + other))


def test_polygons_are_lossy_and_points_are_left_out() -> None:
    polygon = '<polygon label="p" points="2.00,2.00;12.00,2.00;12.00,12.00;2.00,12.00"/>'
    (image,) = _read(_with(f'{polygon}<points label="p" points="1,1"/><tag label="t"/>'))
    (region,) = image.reviews[0].regions
    assert (region.is_lossy, region.label, region.record) == (True, "p", None)
    mask = FOUND[0] & False
    mask[2:12, 2:12] = True
    assert mask_iou(region.mask, encode_mask(mask)) > 0.95


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ('<mask rle="4" left="0" top="0" width="3" height="1"/>', "do not fill"),
        ('<mask rle="x" left="0" top="0" width="3" height="1"/>', "whole numbers"),
        ('<mask left="0" top="0" width="3" height="1"/>', "whole numbers"),
        ('<mask rle="3" left="30" top="0" width="3" height="1"/>', "EXIF"),
        ('<mask rle="3" left="0.5" top="0" width="3" height="1"/>', "left is no whole number"),
        ('<mask rle="3" top="0" width="3" height="1"/>', "left is no whole number"),
        (f'<mask rle="{"9" * 5000}" left="0" top="0" width="3" height="1"/>', "whole numbers"),
        ('<polygon points="1,1;2"/>', "polygon"),
        ('<polygon points="1,1;2,x;3,3"/>', "finite number"),
        ("<polygon/>", "point"),
        ('<polygon points="1,1;2,inf;3,3"/>', "finite number"),
        ('<box xtl="1" ytl="1" xbr="2" ybr="2"/>', "no area"),
    ],
)
def test_shapes_that_are_refused(shape: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        _read(_with(shape))
    assert "f: image 0, " in str(caught.value)


def test_files_that_are_refused() -> None:
    for image in (
        'name="a"',
        'name="a" width="0" height="1"',
        'width="1" height="1"',
        'name="a" width="1e9" height="1e9"',
    ):
        with pytest.raises(ValueError, match="f: image"):
            _read(_with("", image))
    with pytest.raises(ValueError, match="CVAT for images"):
        _read(b"<annotations><track/></annotations>")
    with pytest.raises(ValueError, match="dumped"):
        _read(b"<annotations><meta><dumped>soon</dumped></meta></annotations>")
