"""What is shown: the lowest IoU, the larger mask, different images."""

from __future__ import annotations

import numpy as np

from litelvlm.pipeline.compare.answers import compare_answers
from litelvlm.pipeline.compare.worst import Worst
from tests.pipeline.compare.conftest import box, records

TEN = {"mask": box(0, 0, 10, 10)}
PAIRS = [
    (TEN, TEN),
    (TEN, {"mask": box(5, 0, 10, 10)}),  # 1: a third
    (TEN, {"mask": box(100, 0, 5, 5)}),  # 2: nothing
    (TEN, {"mask": box(100, 0, 20, 20)}),  # 3: nothing, larger
    (TEN | {"source_row": 3}, {"mask": box(100, 0, 19, 19)}),  # 4: the same image as 3
    (TEN, {}),
    ({}, {"mask": box(0, 0, 50, 50)}),  # 6
    ({"status": "failed"}, TEN),
]


def _worst(shown: int, size: int) -> Worst:
    a, b = (records(*(pair[at] for pair in PAIRS)) for at in (0, 1))
    rows = compare_answers(a, b, 0.8)
    found = Worst(shown)
    for low in range(0, len(PAIRS), size):
        table = rows.slice(low, size)
        places = low + np.arange(table.num_rows)
        found.add(table, places, 100 + places)
    return found


def test_they_are_the_same_however_the_rows_come() -> None:
    for size in (1, 3, 100):
        found = _worst(10, size)
        assert [one.place_a for one in found.masks] == [3, 2, 1]
        assert [(one.place_a, one.place_b) for one in found.one_sided] == [(6, 106), (5, 105)]


def test_so_many_are_kept_and_no_more() -> None:
    assert [one.place_a for one in _worst(2, 2).masks] == [3, 2]
    assert _worst(0, 2).masks == _worst(0, 2).one_sided == []
