"""Finished runs as the planner sees them, and those that do not serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.planner.runs import MeasuredRun, Quality, Setting, measured_run, read_run, read_runs
from litelvlm.pipeline.schemas import THROUGHPUT_SCHEMA
from tests.pipeline import planned_runs as made


def run_of(table: list[dict[str, Any]], **about: Any) -> MeasuredRun:
    return measured_run("run", made.summary(**about), pa.Table.from_pylist(table, schema=THROUGHPUT_SCHEMA))


def test_a_run_is_read_from_where_it_lies(tmp_path: Path) -> None:
    run = read_run(made.write_run(tmp_path / "r", made.rows(4)))
    assert run.setting == Setting(layout="separate", rule="paper", tokens=192)
    assert str(run.setting) == "separate, paper to 192 tokens"
    assert (run.visual_tokens, run.shard_images, len(run.observations)) == (576, 16, 4)
    assert run.device == "NVIDIA H100 80GB HBM3"
    # 90 s by the clock, of which the actors' shards took 1000 to 1004.
    assert run.outside_s == pytest.approx(86.0)


def test_only_an_actors_first_shard_is_one() -> None:
    table = [values | {"actor": f"node:{number % 2}"} for number, values in enumerate(made.rows(6))]
    table[0], table[4] = table[4], table[0]  # whatever the order of the rows
    firsts = [item.first for item in run_of(table).observations]
    assert firsts == [False, True, False, False, True, False]


def test_a_rule_that_prunes_nothing_is_unpruned() -> None:
    run = run_of(made.rows(tokens=576), rule="paper")
    assert (run.setting.rule, run.setting.pruned, str(run.setting)) == ("none", False, "separate, all 576 tokens")


def test_quality_is_weighed_by_phrases() -> None:
    table = made.compared(made.rows(2), iou=0.9)
    table[1] |= {"baseline_phrases": 2, "baseline_mean_iou": 0.5}
    run = run_of(table)
    assert run.quality == (Quality(kind="agreement", value=pytest.approx((6 * 0.9 + 2 * 0.5) / 8), phrases=8),)


@pytest.mark.parametrize("about", [{"resumed_rows": 3}, {"executions": 2}])
def test_time_outside_is_not_known_of_a_run_that_was_interrupted(about: dict[str, Any]) -> None:
    assert run_of(made.rows(2), **about).outside_s is None


@pytest.mark.parametrize(
    ("table", "about", "message"),
    [
        (made.rows(2), {"state": "crashed"}, "state is crashed, 2 annotated shards; finish it first"),
        ([], {}, "state is done, 0 annotated shards; finish it first"),
        ([made.row(0, images=0)], {}, "state is done, 0 annotated shards"),
    ],
)
def test_a_run_that_did_not_end_is_refused(table: list[dict[str, Any]], about: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"--run run: {message}"):
        run_of(table, **about)


def test_what_does_not_belong_together_is_named(tmp_path: Path) -> None:
    first = made.write_run(tmp_path / "a", made.rows(2))
    other = made.write_run(tmp_path / "b", made.rows(2), model_revision="xyz\x1b[31m")
    with pytest.raises(UsageError, match=r"--run .*/b: model revision is xyz\?\[31m, but abc in .*/a; plan them apart"):
        read_runs([first, other])
    with pytest.raises(UsageError, match="--run is missing"):
        read_runs([])
    with pytest.raises(UsageError, match="holds no finished run"):
        read_run(str(tmp_path / "gone"))
    (tmp_path / "a/throughput.parquet").write_bytes(b"half")
    with pytest.raises(UsageError, match=r"throughput\.parquet is damaged"):
        read_run(first)
