"""What an execution hands to Ray: a task for every shard, and pools that its configuration asks for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.fetch.policy import uri_policy
from litelvlm.pipeline.footing import Footing, StageCpus
from litelvlm.pipeline.shards.manifest import Shard, make_plan
from litelvlm.pipeline.shards.markers import ShardMarker
from litelvlm.pipeline.shards.payload import ShardTask, pack, unpack
from litelvlm.pipeline.stages import execute
from litelvlm.pipeline.stages.execute import Execution
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeEngine
from tests.pipeline.samples import row, run_config, write_table


class Job:
    """A job whose tasks remember what they were given."""

    marker = ShardMarker

    def task(self, shard: Shard, prior_kills: dict[str, int]) -> ShardTask:
        return ShardTask(shard=shard, prior_kills=prior_kills)


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write_table(tmp_path / "in.parquet", [row(number) for number in range(20)])


def execution(source: str, tmp_path: Path, **settings: Any) -> tuple[Execution[ShardMarker], tuple[Shard, ...]]:
    config = run_config(source, tmp_path / "out", **settings)
    plan = make_plan(config, revision="r")
    made: Execution[Any] = Execution(
        config=config, mapping=plan.mapping, job=Job(), storage=Storage(config.output), engine=FakeEngine(),
        policy=uri_policy(config), footing=Footing(device="cpu", cpus=StageCpus()),
    )  # fmt: skip
    return made, plan.shards


def test_every_shard_is_a_task_with_the_deaths_of_earlier_sessions_wave_by_wave(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, shards = execution(source, tmp_path)
    waves: list[list[ShardTask]] = []
    monkeypatch.setattr(execute, "_WAVE", 2)
    monkeypatch.setattr(Execution, "_run_wave", lambda self, tasks: [waves.append(tasks)][:0])  # type: ignore[func-returns-value]
    for attempt in (1, 2, 3):  # the third may have died with its driver: it proves nothing
        made.storage.create_exclusive(f"_attempts/{shards[1].shard_id}/decode/all/before.{attempt}", b"%d" % attempt)
    assert list(made.run(list(shards))) == []
    assert [len(wave) for wave in waves] == [2, 1]
    tasks = [task for wave in waves for task in wave]
    assert [task.shard for task in tasks] == list(shards)
    assert [task.prior_kills for task in tasks] == [{}, {"decode": 2}, {}]


def test_the_feed_yields_every_task_in_a_block_of_its_own(source: str, tmp_path: Path) -> None:
    _, shards = execution(source, tmp_path)
    tasks = [ShardTask(shard=shard) for shard in shards]
    assert [unpack(block) for block in execute._one_by_one(pack(tasks))] == tasks


def test_the_decode_stage_gets_what_the_configuration_says(source: str, tmp_path: Path) -> None:
    made, _ = execution(source, tmp_path, sample=0.9, max_pixels=1_000, storage_options={"key": "k"})
    stage = made._decode_stage("now")
    assert (stage.sample, stage.max_pixels, stage.storage_options) == (0.9, 1_000, {"key": "k"})
    assert (stage.session, stage.marker, stage.engine) == ("now", ShardMarker, FakeEngine())


@pytest.mark.parametrize(("cores", "actors", "threads"), [(16, 1, 16), (16, (2, 4), 4), (2, 4, 1)])
def test_actors_on_a_cpu_share_its_cores(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, actors: Any, threads: int
) -> None:
    monkeypatch.setattr("litelvlm.pipeline.stages.execute.num_usable", lambda: cores)
    assert execution(source, tmp_path, num_actors=actors)[0]._threads_per_actor() == threads


def test_a_row_group_is_read_once_where_that_saves_much_and_shards_are_light(source: str, tmp_path: Path) -> None:
    made, shards = execution(source, tmp_path, shard_images=2)
    tasks = [made.job.task(shard, {}) for shard in shards]
    much, light = execute._WORTH_A_STAGE + 1, execute._HANDED_ON
    for bytes_reread, bytes_a_shard, once in ((much, light, True), (much, light + 1, False), (much - 1, light, False)):
        made = dataclasses.replace(made, bytes_reread=bytes_reread, bytes_a_shard=bytes_a_shard)
        assert made._reads_over(tasks) == once
    made = dataclasses.replace(made, bytes_reread=much)
    assert not made._reads_over(tasks[:1]), "a row group for itself"


def test_the_pool_of_actors_is_as_large_as_asked(source: str, tmp_path: Path) -> None:
    pool = execution(source, tmp_path, num_actors=(2, 5))[0]._actor_pool()
    assert (pool.min_size, pool.max_size) == (2, 5)


def test_a_stage_goes_to_ray_as_a_function_under_its_own_name() -> None:
    class Doubling:
        def __call__(self, batch: int) -> int:
            return 2 * batch

    call = execute._call(Doubling())
    assert (call(21), call.__name__) == (42, "Doubling")
