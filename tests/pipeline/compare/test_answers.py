"""Two answers to one phrase, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from litelvlm.pipeline.compare.answers import compare_answers
from litelvlm.pipeline.schemas import COMPARISON_SCHEMA
from tests.pipeline.compare.conftest import box, records

TEN = {"mask": box(0, 0, 10, 10)}
HALF = {"mask": box(5, 0, 10, 10)}  # 50 of 150 pixels in common with TEN
FAR = {"mask": box(100, 100, 10, 10)}
ABSENT = {"status": "absent"}


def _compared(a: dict[str, Any], b: dict[str, Any], agree_iou: float = 0.8) -> dict[str, Any]:
    table = compare_answers(records(a), records(b), agree_iou)
    assert table.schema.equals(COMPARISON_SCHEMA)
    return table.to_pylist()[0]


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        (TEN, TEN, 1.0),
        (TEN, HALF, 1 / 3),
        (TEN, FAR, 0.0),
        (TEN, {}, 0.0),
        (ABSENT, TEN, 0.0),
        ({}, {}, 1.0),
        (ABSENT, ABSENT, 1.0),
        (ABSENT, {}, 1.0),
    ],
    ids=[
        "same",
        "third",
        "apart",
        "mask and empty",
        "absent and mask",
        "both empty",
        "both absent",
        "absent and empty",
    ],
)
def test_answers_are_compared(a: dict[str, Any], b: dict[str, Any], iou: float) -> None:
    for one, other in ((a, b), (b, a)):
        found = _compared(one, other)
        assert found["iou"] == pytest.approx(iou)
        assert found["agrees"] == (iou >= 0.8)
        assert found["left_out"] is None


def test_what_overlaps_as_much_as_was_asked_for_agrees() -> None:
    assert [_compared(TEN, HALF, limit)["agrees"] for limit in (1 / 3, 0.34)] == [True, False]


def test_boxes_areas_and_scores_are_those_of_each() -> None:
    found = _compared(TEN, HALF | {"score": 0.25})
    assert found["box_iou"] == pytest.approx(1 / 3)
    assert (found["area_a"], found["area_b"], found["score_a"], found["score_b"]) == (100, 100, 0.5, 0.25)
    found = _compared(TEN, ABSENT | {"area": 0})
    assert (found["box_iou"], found["area_a"], found["area_b"]) == (None, 100, None)
    assert (found["status_a"], found["status_b"]) == ("ok", "absent")


@pytest.mark.parametrize(
    ("b", "reason"),
    [
        ({"status": "failed", "height": None, "width": None, "image_hash": None}, "failed"),
        (TEN | {"status": "dropped"}, "dropped"),
        (TEN | {"phrase": "a dog"}, "other phrase"),
        (TEN | {"height": 100, "width": 400}, "other image"),
        (TEN | {"image_hash": "00000000000003ff"}, "other image"),
        (TEN | {"image_hash": "00000000000001ff"}, None),
    ],
    ids=["failed", "dropped", "other phrase", "other size", "other hash", "near hash"],
)
def test_what_cannot_be_compared_is_left_out(b: dict[str, Any], reason: str | None) -> None:
    for pair in ((TEN, b), (b, TEN)):
        found = _compared(*pair)
        assert found["left_out"] == reason
        assert (found["iou"] is None) == (found["agrees"] is None) == (reason is not None)
