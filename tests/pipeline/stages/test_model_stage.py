"""The actor that holds a model: one that cannot be loaded is told by its calls, units that kill are given up."""

from __future__ import annotations

from pathlib import Path

import pytest

from litelvlm.pipeline.errors import NodeError, UsageError
from litelvlm.pipeline.shards.attempts import MAX_KILLS, Guard
from litelvlm.pipeline.shards.payload import ShardWork, pack, unpack
from litelvlm.pipeline.stages.model_stage import ModelStage, guarded
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeAnnotator, FakeEngine
from tests.pipeline.stages.shard_work import image_work, shard_work


class Counting(ModelStage[FakeEngine, int]):
    """Says how many images a shard has."""

    def process(self, work: ShardWork) -> int:
        assert isinstance(self._annotator, FakeAnnotator)
        return len(work.images)


def test_a_call_processes_its_shard(tmp_path: Path) -> None:
    stage = Counting(FakeEngine(), Storage(str(tmp_path)), "now", 1)
    work = shard_work([image_work(0, "a"), image_work(1, "b")])
    assert unpack(stage(pack(work))) == 2


def test_a_model_that_cannot_be_loaded_is_a_mistake_that_every_call_tells(tmp_path: Path) -> None:
    stage = Counting(FakeEngine(load_error="no such checkpoint"), Storage(str(tmp_path)), "now", 1)
    for _ in range(2):
        with pytest.raises(UsageError, match=r"^no such checkpoint$"):
            unpack(stage(pack(shard_work([])))).throw()


def test_an_error_without_words_is_told_by_its_type(tmp_path: Path) -> None:
    class Full(FakeEngine):
        def annotator(self, num_threads: int | None) -> FakeAnnotator:
            raise MemoryError

    stage = Counting(Full(), Storage(str(tmp_path)), "now", 1)
    with pytest.raises(NodeError, match=r"node .*: loading the model: MemoryError"):
        unpack(stage(pack(shard_work([])))).throw()


def test_units_come_in_order_with_those_given_up_among_them(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))

    def process(units: range) -> list[str]:
        if 2 in units:
            raise SystemExit  # as if the worker had died
        return [f"unit {unit}" for unit in units]

    for _ in range(30):
        guard = Guard(storage=storage, session="now", stage="annotate", shard_id="s", prior_kills=MAX_KILLS)
        try:
            found = guarded(guard, 4, process, lambda units: [f"gave up {unit}" for unit in units], 1)
        except SystemExit:
            continue
        break
    assert found == ["unit 0", "unit 1", "gave up 2", "unit 3"]
