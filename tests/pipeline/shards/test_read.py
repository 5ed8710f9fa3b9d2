"""Rows of a shard: each selected one once, in order, or a reason why not, from the planned file only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.shards.manifest import RunPlan, Shard, make_plan
from litelvlm.pipeline.shards.read import read_shard
from litelvlm.pipeline.storage.range_file import ChangedError
from tests.pipeline.samples import row, run_config, write_table

SHARD = Shard(
    shard_id="s", index=0, file="f", id_prefix="f", row_group=0, row_group_start=0, row_start=0, row_stop=8, num_rows=8
)


def plan_of(source: str, **settings: object) -> RunPlan:
    return make_plan(run_config(source, "/nonexistent/out", **settings), revision="r1")


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write_table(tmp_path / "in.parquet", [row(number) for number in range(45)], row_group_size=20)


def test_shards_hold_the_rows_of_the_table(source: str) -> None:
    plan = plan_of(source)
    table = pq.read_table(source).to_pylist()
    found = [one for shard in plan.shards for one in read_shard(shard, plan.mapping, {}, sample=None)]
    assert [one.number for one in found] == list(range(45))
    assert [one.cells["image_id"] for one in found] == [given["image_id"] for given in table]
    assert [one.cells["phrases"] for one in found] == [given["phrases"] for given in table]
    assert all(one.error is None for one in found)


def test_only_sampled_rows_are_read(source: str) -> None:
    plan = plan_of(source, sample=0.3)
    found = [one.number for shard in plan.shards for one in read_shard(shard, plan.mapping, {}, sample=0.3)]
    assert found == sorted(set(found))
    assert 0 < len(found) == plan.num_rows < 45


@pytest.mark.parametrize("change", ["rewritten", "cut", "gone", "no parquet"])
def test_another_file_than_the_planned_one_is_refused(source: str, change: str) -> None:
    plan = plan_of(source)
    path = Path(source)
    if change == "rewritten":
        write_table(path, [row(number) for number in range(1, 46)], row_group_size=20)
    elif change == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif change == "gone":
        path.unlink()
    else:
        path.write_bytes(b"<html>")
    with pytest.raises(ChangedError, match=r"in\.parquet"):
        list(read_shard(plan.shards[0], plan.mapping, {}, sample=None))


def test_a_shard_of_other_rows_than_its_id_says_is_refused(source: str) -> None:
    plan = plan_of(source)
    with pytest.raises(ChangedError):
        list(read_shard(replace(plan.shards[0], row_stop=9), plan.mapping, {}, sample=None))


def test_rows_behind_a_corrupt_page_come_with_a_reason(tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", [row(number) for number in range(40)], row_group_size=40)
    plan = plan_of(source, shard_images=40)
    offset = pq.ParquetFile(source).metadata.row_group(0).column(1).data_page_offset
    data = bytearray((tmp_path / "in.parquet").read_bytes())
    data[offset : offset + 40] = b"\xff" * 40
    (tmp_path / "in.parquet").write_bytes(bytes(data))
    rows = list(read_shard(plan.shards[0], plan.mapping, {}, sample=None))
    assert [item.number for item in rows] == list(range(40))
    assert "corrupt Parquet" in rows[-1].error
