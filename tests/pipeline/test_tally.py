"""Counting a run: sums over shards, the failure rate it cannot come back from, reasons that do not grow for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from litelvlm.pipeline.tally import Tally
from tests.pipeline.samples import shard_marker


def test_shards_add_up() -> None:
    tally = Tally()
    marker = replace(shard_marker(), rows=4, records=10, failed=3, reasons={"a": 2, "b": 1})
    tally.add(marker)
    tally.add(replace(marker, reasons={"b": 3}))
    assert (tally.rows, tally.records, tally.failed) == (8, 20, 6)
    assert tally.reasons == {"a": 2, "b": 4}


@pytest.mark.parametrize(
    ("failed", "rate", "num_rows", "exceeds"),
    [
        (20, 0.1, 100, False),  # 200 records are expected: 20 are a tenth of them
        (21, 0.1, 100, True),
        (20, 0.1, 50, True),
        (1, 0.0, 100, True),
        (0, 0.0, 100, False),
        (21, 0.1, 1, True),  # fewer rows than were done: what is there counts
        (40, 1.0, 10, False),
    ],
)
def test_the_rate_is_exceeded_once_no_success_can_make_up_for_it(
    failed: int, rate: float, num_rows: int, *, exceeds: bool
) -> None:
    assert Tally(rows=20, records=40, failed=failed).exceeds(rate, num_rows=num_rows) == exceeds


def test_nothing_done_exceeds_nothing() -> None:
    assert not Tally().exceeds(0.0, num_rows=10)


def test_the_table_of_reasons_stays_small_and_keeps_the_frequent_ones() -> None:
    tally = Tally()
    for number in range(5_000):
        tally.add(replace(shard_marker(), reasons={"often": 1, f"once {number}": 1}))
    assert len(tally.reasons) <= 2_001
    assert tally.reasons["often"] == 5_000
