"""A shard that is done is not done again, whatever the listing said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from litelvlm.pipeline.errors import DataError, StorageError
from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.output.finalize import merge_run
from litelvlm.pipeline.schemas import SHARD_SCHEMA, marker_name
from litelvlm.pipeline.shards.manifest import RunPlan, make_plan
from litelvlm.pipeline.shards.markers import Marker, create_marker, find_marker, read_marker, write_data
from litelvlm.pipeline.shards.payload import DoneShard, ShardTask, ShardWork, pack, unpack_row
from litelvlm.pipeline.stages.decode import DecodeStage
from litelvlm.pipeline.stages.failures import Failure
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeEngine
from tests.pipeline.samples import mixed_rows, run_config, write_table


@pytest.fixture
def plan(tmp_path) -> RunPlan:
    source = write_table(tmp_path / "in.parquet", mixed_rows(30))
    return make_plan(run_config(source, tmp_path / "out"), revision="r")


def decode(plan: RunPlan, storage: Storage) -> object:
    """What the decode stage makes of the plan's first shard."""
    stage = DecodeStage(
        mapping=plan.mapping,
        engine=FakeEngine(),
        policy=UriPolicy(manifest_is_local=True),
        storage=storage,
        session="now",
        marker=Marker,
    )
    shard = plan.shards[0]
    return unpack_row(stage(pack(shard.shard_id, ShardTask(shard=shard))))[1]


def test_the_marker_of_a_shard_that_is_done_is_handed_on(tmp_path, plan):
    storage = Storage(str(tmp_path / "out"))
    shard_id = plan.shards[0].shard_id
    marker = Marker(shard_id=shard_id, index=0, rows=8, failed=0, data=write_data(storage, shard_id, [], SHARD_SCHEMA))
    assert create_marker(storage, marker).finished_at > 0
    found = decode(plan, storage)
    assert isinstance(found, DoneShard)
    assert replace(found.marker, finished_at=0.0) == marker
    assert storage.list("_attempts") == []


def test_a_shard_without_a_marker_is_decoded(tmp_path, plan):
    work = decode(plan, Storage(str(tmp_path / "out")))
    assert isinstance(work, ShardWork)
    assert len(work.images) == 8


def test_trouble_of_the_store_fails_no_record(tmp_path, plan, monkeypatch):
    def refuse(loading: object) -> bytes:
        raise StorageError("the credentials have expired")

    monkeypatch.setattr("litelvlm.pipeline.stages.decode._Loading.data", refuse)
    failure = decode(plan, Storage(str(tmp_path / "out")))
    assert isinstance(failure, Failure)
    with pytest.raises(StorageError, match="have expired"):
        failure.throw()


def test_merging_counts_the_shards_without_a_marker(tmp_path, plan):
    storage = Storage(str(tmp_path / "out"))
    first = plan.shards[0].shard_id
    with pytest.raises(DataError, match=f"{len(plan.shards)} shards have no marker, the first is {first}"):
        merge_run(storage, plan, run_config(plan.shards[0].file, tmp_path / "out"))


def test_the_first_marker_counts(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    data = write_data(storage, "s", [], SHARD_SCHEMA)
    first = create_marker(storage, Marker(shard_id="s", index=0, rows=1, failed=0, data=data))
    assert create_marker(storage, Marker(shard_id="s", index=0, rows=2, failed=1, data=data)) == first
    assert read_marker(storage, "s", Marker) == first
    assert find_marker(storage, "t", Marker) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is damaged: it is no JSON"),
        (b"[]", "is damaged: it is no JSON object"),
        (b"{}", "says no version, but this program reads version"),
        (b'{"version": 99}', "says version 99, but this program reads version"),
        (b'{"version": 2, "shard_id": "s", "index": 0, "rows": "many"}', "is damaged: rows: "),
    ],
)
def test_a_marker_that_cannot_be_read_is_told_in_a_line(tmp_path: Path, content: bytes, said: str) -> None:
    storage = Storage(str(tmp_path))
    storage.write_bytes(marker_name("s"), content)
    with pytest.raises(DataError, match=f"_done/s.json {said}") as told:
        find_marker(storage, "s", Marker)
    assert "\n" not in str(told.value)
