"""The service's benchmark: its questions, and what it makes of answers. `tests/faults` runs it, in short."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serve import percentiles, recovery_s, summary
from benchmarks.serve_exam import Exam
from benchmarks.serve_questions import Author

TRUTH = {"size": [2, 2], "counts": "04"}  # all four pixels


def test_recovery_is_the_longest_silence_after_a_kill() -> None:
    assert recovery_s([1.0, 10.0], [0.5, 1.5, 6.0, 6.5, 10.5, 11.0]) == [4.5, 0.5]
    assert recovery_s([], [1.0]) == []


def test_percentiles_are_in_milliseconds() -> None:
    assert percentiles([0.001 * number for number in range(101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_a_summary_counts_what_came() -> None:
    told = {"answers": [(0.5, 0.1, True, True), (2.0, 0.3, False, False)], "errors": {"503 busy": 1}, "retried": 1}
    found = summary(told | {"wrong": 0, "unequal": 0, "lost": 0, "min_iou": 1.0})
    assert (found["requests"], found["phrases_per_s"], found["ms"]["p50"]) == (2, 1.0, 200.0)
    assert (found["share_of_known_images"], found["errors"]) == (0.5, {"503 busy": 1})


def exam(tmp_path: Path, **plan: Any) -> Exam:
    question = {"image": "AAAA", "phrases": ["a", "b"], "truth": [TRUTH, TRUTH]}
    (tmp_path / "questions.json").write_text(json.dumps([question, question]))
    return Exam({"questions": str(tmp_path / "questions.json"), "fresh": False, "order": "phrases", **plan})


def test_every_phrase_is_asked_in_turn_and_new_images_differ(tmp_path: Path) -> None:
    for order, firsts in (("phrases", [True, False, True, False]), ("images", [True, True, False, False])):
        found = exam(tmp_path, order=order, requests=4)
        asked = [found.next() for _ in range(5)]
        assert asked[4] is None
        assert [one[3] for one in asked[:4]] == firsts
        assert len({one[0] for one in asked[:4]}) == 2
    assert len({exam(tmp_path, fresh=True).next()[0] for _ in range(3)}) == 3


@pytest.mark.parametrize(
    ("change", "is_wrong"),
    [
        ({}, False),
        ({"phrase": "b"}, True),
        ({"rle": None}, True),
        ({"rle": {"size": [2, 2], "counts": "13"}}, True),
        ({"rle": {"size": [4, 1], "counts": "04"}}, True),
    ],
)
def test_an_answer_that_is_another_s_is_wrong(tmp_path: Path, change: dict[str, Any], is_wrong: bool) -> None:
    found = exam(tmp_path)
    told = {"masks": [{"phrase": "a", "rle": TRUTH} | change], "cached_image": True}
    found.mark(told, TRUTH, "a", 0.1, first=True)
    assert found.wrong == is_wrong
    assert found.unequal <= found.wrong


@pytest.mark.slow
def test_questions_are_answered_as_the_images_are_read() -> None:
    author = Author()
    (drawn,), (large,) = author.questions(1), author.questions(1, 1024)
    assert large["truth"][0]["size"][1] == 1024
    assert len(drawn["truth"]) == len(drawn["phrases"]) >= 2
