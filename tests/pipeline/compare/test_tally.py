"""Figures of a comparison, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from litelvlm.pipeline.compare.answers import compare_answers
from litelvlm.pipeline.compare.tally import ComparisonTally, Figures
from tests.pipeline.compare.conftest import box, records

SMALL, MOVED = {"mask": box(0, 0, 10, 10)}, {"mask": box(5, 0, 10, 10)}
MEDIUM, LARGE = {"mask": box(0, 0, 32, 32)}, {"mask": box(0, 0, 96, 96)}


@pytest.fixture(scope="module")
def tally() -> ComparisonTally:
    pairs = [
        (SMALL, SMALL | {"category": "not looked at"}),
        (SMALL | {"phrase": "the small cat on a mat"}, MOVED | {"phrase": "the small cat on a mat"}),
        (MEDIUM | {"category": "dog"}, {"status": "absent"}),
        ({"category": None, "phrase": " cat "}, LARGE | {"phrase": " cat "}),
        ({}, {"status": "absent"}),
        ({"status": "failed"}, SMALL),
    ]
    found = ComparisonTally()
    for low, high in ((0, 2), (2, 2), (2, 6)):
        a, b = (records(*(pair[at] for pair in pairs)) for at in (0, 1))
        found.add(compare_answers(a, b, 0.8).slice(low, high - low))
    return found


def test_over_all(tally: ComparisonTally) -> None:
    assert tally.num_compared == 5
    assert tally.left_out == {"failed": 1}
    assert tally.statuses == {
        ("ok", "ok"): 2, ("ok", "absent"): 1, ("empty", "ok"): 1, ("empty", "absent"): 1, ("failed", "ok"): 1,
    }  # fmt: skip
    iou = [1, 1 / 3, 0, 0, 1]
    assert tally.overall() == Figures(
        records=5, agree=0.4, mean_iou=pytest.approx(sum(iou) / 5), median_iou=pytest.approx(1 / 3),
        shares={"0.5": 0.4, "0.75": 0.4, "0.9": 0.4},
    )  # fmt: skip
    assert sum(tally.bins()) == 2
    assert (tally.bins()[6], tally.bins()[-1]) == (1, 1)


def test_by_groups(tally: ComparisonTally) -> None:
    def means(groups: dict[str, Figures]) -> dict[str, tuple[int, Any]]:
        return {name: (one.records, pytest.approx(one.mean_iou)) for name, one in groups.items()}

    assert means(tally.by_answer()) == {
        "a mask in both": (2, 2 / 3),
        "no mask in either": (1, 1),
        "a mask in A only": (1, 0),
        "a mask in B only": (1, 0),
    }
    assert means(tally.by_size()) == {"no mask": (1, 1), "small": (2, 2 / 3), "medium": (1, 0), "large": (1, 0)}
    assert means(tally.by_words()) == {"1 word": (1, 0), "2 or 3": (3, 2 / 3), "4 to 6": (1, 1 / 3)}
    assert list(tally.by_category()) == ["cat", "(none)", "dog"]
    assert tally.by_category()["cat"].records == 3


def test_nothing_is_no_error() -> None:
    tally = ComparisonTally()
    assert tally.overall() == Figures(records=0)
    assert tally.by_size() == tally.by_category() == {}
    assert sum(tally.bins()) == 0
