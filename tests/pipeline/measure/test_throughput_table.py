"""The throughput table of a run that goes on, from its markers, and what it says in words."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from litelvlm.pipeline.measure.throughput_table import describe_table, live_table
from litelvlm.pipeline.schemas import THROUGHPUT_SCHEMA
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline import planned_runs as made
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import mixed_rows


def table_of(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=THROUGHPUT_SCHEMA)


def test_every_committed_shard_is_a_row_in_input_order(tmp_path: Path) -> None:
    storage, _ = make_output(tmp_path, mixed_rows(20), shards=2, finish=False, gpu_price=3.6, gpus_per_actor=2.0)
    table = live_table(storage)
    assert table.column("index").to_pylist() == [0, 1]
    assert table.column("rows").to_pylist() == [8, 8]
    held = table.column("held_s").to_pylist()
    assert table.column("gpu_s").to_pylist() == pytest.approx([2 * seconds for seconds in held])
    assert table.column("cost").to_pylist() == pytest.approx([2 * seconds / 1000 for seconds in held])
    dearer = live_table(storage, gpu_price=36.0)
    assert dearer.column("cost").to_pylist() == pytest.approx([2 * seconds / 100 for seconds in held])


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no run"):
        live_table(Storage(str(tmp_path)))


def test_the_words_are_the_sums() -> None:
    rows = [made.row(number, images=10, phrases=20, gpu_s=1800.0, cost=2.5, idle_s=0.0) for number in range(2)]
    rows[0] |= {"actor_from": 1000.0, "actor_to": 1004.0}
    rows[1] |= {"actor_from": 1002.0, "actor_to": 1010.0}
    found = dict(line.split("  ", 1) for line in describe_table(table_of(rows), num_shards=7).splitlines())
    said = {name: text.strip() for name, text in found.items()}
    assert said["shards"] == "2 of 7"
    assert said["records"] == "40 (38 ok, 2 empty, 0 failed) of 20 images"
    assert said["rate"] == "2.00 images/s, 4.00 phrases/s"
    assert said["cost"] == "5.0000 for 1.0000 GPU hours"
    assert said["visual tokens"] == f"{40 * 192} kept of {40 * 576}"
    held_s = sum(row["held_s"] for row in rows)
    assert said["device"].startswith(f"{held_s:.2f} s: startup {20 / held_s:.0%}")
    assert "idle" not in said["device"]


def test_nothing_done_is_said_without_rate_or_cost() -> None:
    text = describe_table(THROUGHPUT_SCHEMA.empty_table(), num_shards=3)
    assert text.startswith("shards         0 of 3\n")
    assert "rate" not in text
    assert "cost" not in text
