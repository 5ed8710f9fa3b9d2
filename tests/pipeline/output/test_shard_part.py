"""A shard made ready for the merge: its records, its images' masks without ids, its failures."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.output.shard_part import error_row, read_part
from litelvlm.pipeline.schemas import ERROR_SCHEMA, RECORD_SCHEMA
from litelvlm.pipeline.shards.manifest import Shard, make_plan, record_key
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
    facts, records, annotations = read_part(storage, [(shard, marker)], sample=None, renamed={})
    assert records.schema == RECORD_SCHEMA
    assert (facts.num_bytes, facts.num_records) == (records.nbytes, records.num_rows)
    assert (records.num_rows, facts.statuses["ok"], facts.statuses["failed"]) == (
        marker.records,
        marker.ok,
        marker.failed,
    )
    assert [(image.key, image.file_name) for image in facts.images] == marker.image_keys
    assert [image.sizes for image in facts.images] == [tuple(map(len, mine)) for mine in annotations]
    assert sum(map(len, annotations)) == marker.ok
    assert all(entry.startswith(b',"category_id":1,') for mine in annotations for entry in mine)
    assert [list(row) for row in facts.errors] == [ERROR_SCHEMA.names] * marker.failed
    assert sum(facts.reasons.values()) == marker.failed
    assert {row["shard_id"] for row in facts.errors} == {shard.shard_id}


def test_shards_are_read_as_one_and_an_image_on_their_border_is_one(tmp_path: Path) -> None:
    rows = mixed_rows(20)
    rows[8] |= {name: rows[7][name] for name in ("image", "image_id")}  # shards have 8 rows
    storage, config = make_output(tmp_path, rows, finish=False)
    shards = make_plan(config, revision="fake-1").shards
    committed = [(shard, read_marker(storage, shard.shard_id, ShardMarker)) for shard in shards]
    facts, records, annotations = read_part(storage, committed, sample=None, renamed={})
    alone = [read_part(storage, [one], sample=None, renamed={}) for one in committed]
    assert records.to_pylist() == [row for _, table, _ in alone for row in table.to_pylist()]
    assert sum(facts.statuses.values()) == sum(marker.records for _, marker in committed)
    assert len(facts.images) == len(annotations) == sum(len(marker.image_keys) for _, marker in committed) - 1
    assert list(chain(*annotations)) == list(chain(*chain(*(mine for _, _, mine in alone))))


def test_an_image_has_its_new_name_in_records_and_part(committed: tuple[Storage, Shard, ShardMarker]) -> None:
    storage, shard, marker = committed
    key, old = marker.image_keys[0]
    facts, records, _ = read_part(storage, [(shard, marker)], sample=None, renamed={key: "other.png"})
    names = records.column("file_name").to_pylist()
    assert facts.images[0].file_name == "other.png"
    assert "other.png" in names
    assert old not in names


def test_a_shard_is_held_against_its_plan(committed: tuple[Storage, Shard, ShardMarker]) -> None:
    storage, shard, marker = committed
    with pytest.raises(DataError, match=f"shard {shard.shard_id}: 0 input rows have no record, "):
        read_part(storage, [(shard, marker)], sample=0.3, renamed={})


def test_an_error_row_has_the_columns_of_its_table(committed: tuple[Storage, Shard, ShardMarker]) -> None:
    _, shard, _ = committed
    row = dict.fromkeys(RECORD_SCHEMA.names, 1) | {"image_key": "x"}
    assert set(error_row(row, shard)) == set(ERROR_SCHEMA.names)


def test_an_image_says_where_it_comes_from_and_its_annotations_which_record_they_are(
    committed: tuple[Storage, Shard, ShardMarker],
) -> None:
    storage, shard, marker = committed
    facts, records, annotations = read_part(storage, [(shard, marker)], sample=None, renamed={})
    first = records.to_pylist()[0]
    assert (facts.images[0].image_id, facts.images[0].uri) == (first["image_id"], first["image_uri"])
    assert facts.images[0].source == (shard.file, first["source_row"])
    found = [json.loads(b'{"id":0' + one) for image in annotations for one in image]
    ok = [one["record"] for one in records.to_pylist() if one["status"] == "ok"]
    assert [one["attributes"]["record"] for one in found] == ok
    assert ok[0] == record_key(shard, first["source_row"], 0)
