"""A row group of embedded images is read once for all of its shards, and what goes wrong is left to decoding."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.fetch.policy import uri_policy
from litelvlm.pipeline.shards.manifest import RunPlan, make_plan
from litelvlm.pipeline.shards.markers import ShardMarker
from litelvlm.pipeline.shards.payload import ShardTask, pack, unpack
from litelvlm.pipeline.shards.read import read_shard
from litelvlm.pipeline.stages.decode import DecodeStage
from litelvlm.pipeline.stages.read import ReadStage, by_row_group
from litelvlm.pipeline.storage.range_file import RangeFile
from litelvlm.pipeline.storage.store import Storage
from litelvlm.pipeline.table import footers
from tests.fakes import FakeEngine
from tests.pipeline.samples import row, run_config, write_table


@pytest.fixture
def num_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what is read of input files."""
    sizes: list[int] = []
    fetch = RangeFile._get

    def counted(self: RangeFile, start: int, stop: int) -> bytes:
        sizes.append(stop - start)
        return fetch(self, start, stop)

    monkeypatch.setattr(RangeFile, "_get", counted)
    return sizes


def staged(tmp_path: Path, rows: list[dict[str, Any]], group: int, **settings: Any) -> tuple[ReadStage, RunPlan]:
    source = write_table(tmp_path / "in.parquet", rows, row_group_size=group)
    config = run_config(source, tmp_path / "out", shard_images=8, **settings)
    plan = make_plan(config, revision="r")
    decode = DecodeStage(
        mapping=plan.mapping, engine=FakeEngine(), policy=uri_policy(config), storage=Storage(config.output),
        session="now", marker=ShardMarker, sample=config.source.sample,
    )  # fmt: skip
    return ReadStage(decode=decode), plan


def tasks_of(stage: ReadStage, plan: RunPlan) -> list[ShardTask]:
    groups = by_row_group([ShardTask(shard=shard) for shard in plan.shards])
    return [unpack(block) for group in groups for block in stage(pack(group))]


@pytest.mark.slow
@pytest.mark.parametrize("group", [8, 20, 64, 100])
@pytest.mark.parametrize("sample", [None, 0.4])
def test_shards_get_the_rows_they_would_have_read(tmp_path: Path, group: int, sample: float | None) -> None:
    stage, plan = staged(tmp_path, [row(number) for number in range(100)], group, sample=sample)
    tasks = tasks_of(stage, plan)
    assert [task.shard for task in tasks] == list(plan.shards)
    for task in tasks:
        alone = list(read_shard(task.shard, plan.mapping.without_mask(), {}, sample=sample))
        assert alone == (task.read.rows if task.read else alone)
    shards_of_group = Counter(task.shard.row_group for task in tasks)  # a sample may leave a group a single one
    assert any(task.read for task in tasks) == (max(shards_of_group.values()) > 1)
    if sample is None:
        assert any(task.read for task in tasks) == (group > 8)


@pytest.mark.slow
@pytest.mark.parametrize("group", [8, 16, 64, 1_000])
def test_the_bytes_of_the_file_are_read_once(tmp_path: Path, num_bytes: list[int], group: int) -> None:
    rows = [row(number) | {"image": random.Random(number).randbytes(50_000)} for number in range(128)]
    stage, plan = staged(tmp_path, rows, group)
    num_bytes.clear()
    footers._footers.clear()
    tasks = tasks_of(stage, plan)
    for task in tasks:
        given = task.read.rows if task.read else read_shard(task.shard, plan.mapping, {}, sample=None)
        assert len(list(given)) == task.shard.num_rows
    assert sum(num_bytes) <= 1.2 * (tmp_path / "in.parquet").stat().st_size


def test_a_group_that_killed_its_worker_is_left_to_decoding(tmp_path: Path) -> None:
    stage, plan = staged(tmp_path, [row(number) for number in range(16)], 16)
    assert all(task.read for task in tasks_of(stage, plan))
    assert not any(task.read for task in tasks_of(stage, plan))  # the first attempt has no end


def test_a_file_that_cannot_be_read_is_left_to_decoding(tmp_path: Path) -> None:
    stage, plan = staged(tmp_path, [row(number) for number in range(16)], 16)
    (tmp_path / "in.parquet").unlink()
    tasks = tasks_of(stage, plan)
    assert [task.shard for task in tasks] == list(plan.shards)
    assert not any(task.read for task in tasks)
