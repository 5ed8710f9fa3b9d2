"""A shard that is done is not done again, whatever the listing said."""

from __future__ import annotations

import json

import pytest

from litelvlm.pipeline.errors import DataError, StorageError
from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.output.finalize import merge_run
from litelvlm.pipeline.schemas import marker_name
from litelvlm.pipeline.shards.manifest import Plan, make_plan
from litelvlm.pipeline.shards.payload import DoneShard, ShardWork, pack, unpack_row
from litelvlm.pipeline.stages.decode import DecodeStage
from litelvlm.pipeline.stages.failures import Failure
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeEngine
from tests.pipeline.samples import mixed_rows, run_config, write_table


@pytest.fixture
def plan(tmp_path) -> Plan:
    source = write_table(tmp_path / "in.parquet", mixed_rows(30))
    return make_plan(run_config(source, tmp_path / "out"), revision="r")


def decode(plan: Plan, storage: Storage) -> object:
    """What the decode stage makes of the plan's first shard."""
    stage = DecodeStage(
        mapping=plan.mapping,
        engine=FakeEngine(),
        policy=UriPolicy(manifest_is_local=True),
        storage=storage,
        session="now",
    )
    shard = plan.shards[0]
    return unpack_row(stage(pack(shard.shard_id, ShardWork(shard=shard, images=[]))))[1]


def test_the_marker_of_a_shard_that_is_done_is_handed_on(tmp_path, plan):
    storage = Storage(str(tmp_path / "out"))
    storage.write_bytes(marker_name(plan.shards[0].shard_id), json.dumps({"rows": 8}).encode())
    assert decode(plan, storage) == DoneShard(marker={"rows": 8})
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
