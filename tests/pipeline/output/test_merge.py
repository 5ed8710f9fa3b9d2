"""Merging: in the order of the input, every row once, nothing taken that was not committed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.output.merge import MergeTotals, merge_shards, write_errors
from litelvlm.pipeline.schemas import SHARD_SCHEMA, marker_name
from litelvlm.pipeline.shards.manifest import RunPlan, make_plan
from litelvlm.pipeline.shards.markers import ShardMarker, create_marker, read_data, read_marker, write_data
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import final_bytes, mixed_rows, read_coco, read_records, row


@pytest.fixture
def output(tmp_path: Path) -> tuple[Storage, RunConfig]:
    return make_output(tmp_path, mixed_rows(20), finish=False)


def plan_of(config: RunConfig) -> RunPlan:
    return make_plan(config, revision="fake-1")


def merge(storage: Storage, config: RunConfig) -> MergeTotals:
    return merge_shards(storage, plan_of(config).shards, sample=None, gpus_per_actor=2.0, gpu_price=3.6)


def rewrite(storage: Storage, config: RunConfig, change: Any) -> None:
    """Commit the first shard anew, with other rows."""
    shard_id = plan_of(config).shards[0].shard_id
    marker = read_marker(storage, shard_id, ShardMarker)
    data = write_data(storage, shard_id, change(read_data(storage, marker).to_pylist()), SHARD_SCHEMA)
    storage.delete([marker_name(shard_id)])
    create_marker(storage, replace(marker, data=data))


def test_totals_are_those_of_the_tables_that_are_written(output: tuple[Storage, RunConfig]) -> None:
    storage, config = output
    totals = merge(storage, config)
    records = read_records(config.output)
    assert (totals.rows, totals.records) == (20, len(records))
    assert totals.statuses == {status: sum(one["status"] == status for one in records) for status in totals.statuses}
    errors = pq.read_table(f"{config.output}/errors.parquet").to_pylist()
    failed = [record for record in records if record["status"] == "failed"]
    assert [(one["source_row"], one["error"]) for one in errors] == [
        (one["source_row"], one["error"]) for one in failed
    ]
    assert sum(totals.reasons.values()) == len(failed) > 0
    throughput = pq.read_table(f"{config.output}/throughput.parquet").to_pylist()
    assert [one["index"] for one in throughput] == [0, 1, 2]
    assert throughput[0]["gpu_s"] == pytest.approx(2.0 * throughput[0]["held_s"])
    assert throughput[0]["cost"] == pytest.approx(throughput[0]["gpu_s"] / 1000)
    coco = read_coco(config.output)
    assert (len(coco["images"]), len(coco["annotations"])) == (totals.images, totals.annotations)
    assert totals.annotations == totals.statuses["ok"]


def test_merging_again_gives_the_same_bytes(output: tuple[Storage, RunConfig]) -> None:
    storage, config = output
    merge(storage, config)
    first = final_bytes(config.output)
    merge(storage, config)
    assert final_bytes(config.output) == first


def test_a_scattered_image_is_one_coco_image_with_all_masks_in_order(tmp_path: Path) -> None:
    rows = [row(number) for number in range(20)]
    rows[0]["phrases"], rows[9], rows[17] = ["a dog"], row(0, "the red box"), row(0, "blue thing")
    storage, config = make_output(tmp_path, rows, finish=False)
    totals = merge(storage, config)
    coco = read_coco(config.output)
    assert (totals.images, totals.annotations) == (18, 20)
    first = coco["images"][0]["id"]
    mine = [one["attributes"]["phrase"] for one in coco["annotations"] if one["image_id"] == first]
    assert mine == ["a dog", "the red box", "blue thing"]
    names = {record["file_name"] for record in read_records(config.output) if record["image_id"] == "image-0000"}
    assert names == {coco["images"][0]["file_name"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1:], "1 input rows have no record, 0 records no input row"),
        (lambda rows: [*rows, rows[-1] | {"source_row": 99}], "0 input rows have no record, 1 records no input row"),
        (lambda rows: [*rows, rows[-1]], "1 records are doubled"),
    ],
)
def test_rows_and_records_must_match(output: tuple[Storage, RunConfig], change: Any, message: str) -> None:
    storage, config = output
    rewrite(storage, config, change)
    with pytest.raises(DataError, match=f"shard 0000000-.*: {message}"):
        merge(storage, config)
    assert not Path(config.output, "errors.parquet").exists()


def test_data_that_was_not_committed_is_not_merged(output: tuple[Storage, RunConfig]) -> None:
    storage, config = output
    path = next(Path(config.output, "shards").iterdir())
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DataError, match="is not what was committed: its checksum differs; remove _done/"):
        merge(storage, config)
    path.unlink()
    with pytest.raises(DataError, match="is gone, though its marker says it was written"):
        merge(storage, config)


def test_errors_of_a_run_that_stops_early(output: tuple[Storage, RunConfig]) -> None:
    storage, config = output
    shards = plan_of(config).shards
    write_errors(storage, shards[:1])
    errors = pq.read_table(f"{config.output}/errors.parquet").to_pylist()
    assert [(one["source_row"], one["shard_id"]) for one in errors] == [
        (number, shards[0].shard_id) for number in (3, 7)
    ]
