"""What a run writes is consistent with itself: sums are of numbers, files lie in what a run owns."""

from __future__ import annotations

import pyarrow as pa

from litelvlm.pipeline import schemas


def test_sums_are_of_columns_that_add_up() -> None:
    columns = {field.name: field.type for field in schemas.THROUGHPUT_SCHEMA}
    assert set(schemas.THROUGHPUT_SUMS) < set(columns)
    assert all(columns[name] in (pa.int64(), pa.float64()) for name in schemas.THROUGHPUT_SUMS)
    assert not {"index", "mfu", "finished_at", "baseline_mean_iou"} & set(schemas.THROUGHPUT_SUMS)
    assert {"held_s", "gpu_s", "cost", "phrases", *schemas.BASELINE_COLUMNS} <= set(schemas.THROUGHPUT_SUMS)


def test_every_stage_and_kind_has_its_column_of_seconds() -> None:
    names = set(schemas.THROUGHPUT_SCHEMA.names)
    assert {f"{stage}_s" for stage in (*schemas.STAGES, *schemas.HELD_KINDS)} <= names
    assert len(schemas.THROUGHPUT_SCHEMA.names) == len(names)


def test_what_a_record_must_say_cannot_be_null() -> None:
    needed = {field.name for field in schemas.RECORD_SCHEMA if not field.nullable}
    assert {"image_id", "phrase", "status", "source_file", "source_row"} <= needed
    assert schemas.SHARD_SCHEMA.names == [*schemas.RECORD_SCHEMA.names, "image_key"]


def test_files_of_a_shard_lie_in_what_a_run_owns() -> None:
    assert schemas.marker_name("0000001-abc") == "_done/0000001-abc.json"
    assert schemas.data_name("0000001-abc", "f00") == "shards/0000001-abc.f00.parquet"
    for name in (schemas.marker_name("s"), schemas.data_name("s", "a")):
        assert name.split("/")[0] in schemas.OWNED_DIRS
