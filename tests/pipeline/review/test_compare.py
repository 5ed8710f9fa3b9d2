"""Verdicts: what a reviewer did is read from what is left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.masks import EncodedMask, encode_mask
from litelvlm.pipeline.review.compare import compare, unseen
from litelvlm.pipeline.review.reviewed import Review, ReviewedImage, ReviewedRegion

SIZE = (40, 50)


def disk(row: int, column: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


RED, BLUE = encode_mask(disk(12, 12, 9)), encode_mask(disk(25, 35, 8))


def record(number: int, phrase: str, mask: EncodedMask | None, status: str | None = None) -> dict[str, Any]:
    return {
        "record": f"{number:016x}-0", "image_id": "i", "phrase_index": 0, "phrase": phrase, "category": "object",
        "status": status or ("ok" if mask else "empty"), "score": 0.5, "file_name": "i.png", "height": SIZE[0],
        "width": SIZE[1], "mask_rle": mask and mask.counts, "area": mask and mask.area,
        "bbox_xywh": mask and list(mask.bbox_xywh), "source_file": "f", "source_row": 0,
    }  # fmt: skip


RECORDS = [record(0, "red", RED), record(1, "blue", BLUE), record(2, "green", None), record(3, "bad", None, "failed")]
KEYS = [one["record"] for one in RECORDS]


def region(mask: EncodedMask, key: int | None = None, **told: Any) -> ReviewedRegion:
    return ReviewedRegion(mask=mask, record=None if key is None else KEYS[key], **told)


def verdicts(*regions: ReviewedRegion, shown: bool = True, **review: Any) -> dict[str | None, str]:
    image = ReviewedImage(
        file_name="i.png", size_hw=SIZE, place="x", records=tuple(KEYS) if shown else None,
        reviews=(Review(regions=regions, **review),),
    )  # fmt: skip
    found = compare(image, RECORDS)
    return {one["phrase"]: one["verdict"] for one in found}


def test_what_is_left_as_it_was_is_unchanged() -> None:
    assert verdicts(region(RED, 0), region(BLUE, 1)) == {
        "red": "unchanged", "blue": "unchanged", "green": "unchanged", "bad": "unseen",
    }  # fmt: skip
    assert verdicts(region(RED, 0), region(BLUE, 1), shown=False) == {"red": "unchanged", "blue": "unchanged"}


def test_what_lost_its_shape_on_the_way_is_neither_edited_nor_rejected() -> None:
    found = verdicts(region(RED, 0), shapeless=(KEYS[1], KEYS[2]))
    assert (found["red"], found["blue"], found["green"]) == ("unchanged", "unchanged", "unchanged")
    image = ReviewedImage(
        file_name="i.png", size_hw=SIZE, place="x", reviews=(Review(regions=(), shapeless=(KEYS[1],)),)
    )
    lost = {one["phrase"]: one for one in compare(image, RECORDS)}["blue"]
    assert (lost["verdict"], lost["is_lossy"], lost["mask_rle"]) == ("unchanged", True, BLUE.counts)
    with pytest.raises(ValueError, match="has no record 'other'"):
        verdicts(shapeless=("other",))


def test_deleted_rejected_and_absent_ones_are_told_apart() -> None:
    found = verdicts(region(BLUE, 1, said="rejected"))
    assert (found["red"], found["blue"]) == ("rejected", "rejected")
    assert verdicts(region(BLUE, 1), absent=("Red",))["red"] == "absent"
    assert verdicts(region(RED, 0), region(BLUE, 1), absent=(KEYS[2],))["green"] == "absent"


def test_an_edit_says_how_far_it_went() -> None:
    image = ReviewedImage(
        file_name="i.png", size_hw=SIZE, place="x",
        reviews=(Review(regions=(region(encode_mask(disk(12, 12, 10)), 0), region(BLUE, 1)), reviewer="ann"),),
    )  # fmt: skip
    (edit, same) = compare(image, RECORDS)
    before, after = disk(12, 12, 9), disk(12, 12, 10)
    assert edit["verdict"] == "edited"
    assert edit["iou"] == pytest.approx(before.sum() / after.sum())
    assert edit["changed_pixels"] == (before ^ after).sum()
    assert 0.8 < edit["boundary_f"] <= 1
    assert (edit["mask_rle"], edit["reviewer"]) == (encode_mask(after).counts, "ann")
    assert (same["verdict"], same["iou"], same["mask_rle"]) == ("unchanged", 1.0, BLUE.counts)


def test_an_outline_of_a_mask_is_that_mask() -> None:
    nearly = disk(12, 12, 9)
    nearly[12, 3] = False
    lossy = region(encode_mask(nearly), 0, is_lossy=True)
    image = ReviewedImage(file_name="i.png", size_hw=SIZE, place="x", reviews=(Review(regions=(lossy,)),))
    edit = compare(image, RECORDS)[0]
    assert (edit["verdict"], edit["mask_rle"], edit["is_lossy"]) == ("unchanged", RED.counts, True)
    assert verdicts(region(encode_mask(nearly), 0))["red"] == "edited"


def test_what_is_drawn_is_added_to_the_phrase_that_had_nothing_or_by_itself() -> None:
    new = encode_mask(disk(30, 10, 5))
    found = verdicts(region(RED, 0), region(BLUE, 1), region(new, label="Green"))
    assert found["green"] == "added"
    found = verdicts(region(RED, 0), region(BLUE, 1), region(new, label="tree"))
    assert (found["tree"], found["green"]) == ("added", "unchanged")
    found = verdicts(region(RED, 0), region(new, 0), region(BLUE, 1))  # a copy of a region has its key
    assert (found["red"], found[None]) == ("unchanged", "added")


def test_without_keys_regions_are_known_by_what_they_cover() -> None:
    shrunk = encode_mask(disk(25, 35, 7))
    assert verdicts(region(shrunk, label="object"), region(RED, label="object"), shown=False) == {
        "red": "unchanged", "blue": "edited",
    }  # fmt: skip


def test_equal_masks_are_told_apart_by_phrase() -> None:
    twins = [record(0, "red", RED), record(1, "crimson", RED)]
    given = (region(RED, phrase="crimson"),)
    image = ReviewedImage(file_name="i.png", size_hw=SIZE, place="x", reviews=(Review(regions=given),))
    assert [one["verdict"] for one in compare(image, twins)] == ["rejected", "unchanged"]


def test_an_image_that_nobody_opened_is_unseen() -> None:
    image = ReviewedImage(file_name="i.png", size_hw=SIZE, place="x", reviews=())
    assert {one["verdict"] for one in compare(image, RECORDS)} == {"unseen"}
    assert unseen(RECORDS[0])["verdict"] == "unseen"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"size_hw": SIZE[::-1]}, "50x40 in the run; .* EXIF"),
        ({"size_hw": (7, 9)}, "it is 9x7 here and 50x40 in the run$"),
        ({"records": ("0-0",)}, "no record '0-0'"),
    ],
)
def test_what_contradicts_the_run_is_refused(changes: dict[str, Any], line: str) -> None:
    given = {"file_name": "i.png", "size_hw": SIZE, "place": "x", "reviews": ()} | changes
    with pytest.raises(ValueError, match=line):
        compare(ReviewedImage(**given), RECORDS)
