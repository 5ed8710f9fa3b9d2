"""The end of a run: merging again changes nothing, and what is damaged or missing is never merged."""

from __future__ import annotations

import io
from typing import Any

import pytest

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.output.finalize import merge_run, seal_run
from litelvlm.pipeline.run import annotate_dataset
from litelvlm.pipeline.shards.manifest import make_plan
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeEngine
from tests.pipeline.samples import final_bytes, mixed_rows, run_config, write_table


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Any:
    """A finished run, to be damaged: its plan, configuration and storage."""
    root = tmp_path_factory.mktemp("committed")
    source = write_table(root / "in.parquet", mixed_rows(20))
    config = run_config(source, root / "out")
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    return make_plan(config, revision=FakeEngine().revision()), config, Storage(str(root / "out"))


def test_ending_a_run_twice_changes_nothing(committed: Any) -> None:
    plan, config, storage = committed
    before = final_bytes(storage.root)
    seal_run(storage, plan, merge_run(storage, plan, config))
    assert final_bytes(storage.root) == before


def test_orphans_of_dead_attempts_are_swept(committed: Any) -> None:
    plan, config, storage = committed
    orphans = [f"shards/{plan.shards[0].shard_id}.deadbeef.parquet", "_attempts/x/decode/all/s.1", "shards/y.tmp-1"]
    for orphan in orphans:
        storage.write_bytes(orphan, b"left over")
    seal_run(storage, plan, merge_run(storage, plan, config))
    assert not any(storage.exists(orphan) for orphan in orphans)


def test_a_damaged_data_file_is_never_merged(committed: Any) -> None:
    plan, config, storage = committed
    name = storage.list("shards")[0]
    content = storage.read_bytes(name)
    storage.write_bytes(name, content[:-1] + b"X")
    with pytest.raises(DataError, match="checksum"):
        merge_run(storage, plan, config)
    storage.delete([name])
    with pytest.raises(DataError, match="is gone"):
        merge_run(storage, plan, config)
    storage.write_bytes(name, content)


def test_a_missing_marker_is_never_overlooked(committed: Any) -> None:
    plan, config, storage = committed
    name = storage.list("_done")[1]
    content = storage.read_bytes(name)
    storage.delete([name])
    with pytest.raises(DataError, match="1 shards have no marker"):
        merge_run(storage, plan, config)
    storage.write_bytes(name, content)
