"""A shard made ready for the merge: its records, its images' masks without ids, its failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.output.shard_part import error_row, read_part
from litelvlm.pipeline.schemas import ERROR_SCHEMA, RECORD_SCHEMA
from litelvlm.pipeline.shards.manifest import Shard, make_plan
from litelvlm.pipeline.shards.markers import ShardMarker, read_marker
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import mixed_rows


@pytest.fixture
def committed(tmp_path: Path) -> tuple[Storage, Shard, ShardMarker]:
    storage, config = make_output(tmp_path, mixed_rows(20), finish=False)
    shard = make_plan(config, revision="fake-1").shards[0]
    return storage, shard, read_marker(storage, shard.shard_id, ShardMarker)


def test_a_part_holds_everything_that_is_written_of_its_shard(committed: tuple[Storage, Shard, ShardMarker]) -> None:
    storage, shard, marker = committed
    part = read_part(storage, shard, marker, sample=None, renamed={})
    assert part.records.schema == RECORD_SCHEMA
    assert (part.records.num_rows, part.statuses["ok"], part.statuses["failed"]) == (
        marker.records,
        marker.ok,
        marker.failed,
    )
    assert [(image.key, image.file_name) for image in part.images] == marker.image_keys
    assert sum(len(image.annotations) for image in part.images) == marker.ok
    assert all(entry.startswith(b',"category_id":1,') for image in part.images for entry in image.annotations)
    assert [list(row) for row in part.errors] == [ERROR_SCHEMA.names] * marker.failed
    assert sum(part.reasons.values()) == marker.failed
    assert {row["shard_id"] for row in part.errors} == {shard.shard_id}


def test_an_image_has_its_new_name_in_records_and_part(committed: tuple[Storage, Shard, ShardMarker]) -> None:
    storage, shard, marker = committed
    key, old = marker.image_keys[0]
    part = read_part(storage, shard, marker, sample=None, renamed={key: "other.png"})
    names = part.records.column("file_name").to_pylist()
    assert part.images[0].file_name == "other.png"
    assert "other.png" in names
    assert old not in names


def test_a_shard_is_held_against_its_plan(committed: tuple[Storage, Shard, ShardMarker]) -> None:
    storage, shard, marker = committed
    with pytest.raises(DataError, match=f"shard {shard.shard_id}: 0 input rows have no record, "):
        read_part(storage, shard, marker, sample=0.3, renamed={})


def test_an_error_row_has_the_columns_of_its_table(committed: tuple[Storage, Shard, ShardMarker]) -> None:
    _, shard, _ = committed
    row = dict.fromkeys(RECORD_SCHEMA.names, 1) | {"image_key": "x"}
    assert set(error_row(row, shard)) == set(ERROR_SCHEMA.names)
