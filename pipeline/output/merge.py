"""Merging the shards: records and COCO parts in the order of the input, streamed, the same bytes every time.

Two passes over the markers. The first fills an `ImageIndex` and puts aside the masks of scattered images; the second
reads every data file once, checks it, and writes. One shard lies in memory at a time, besides the part being written.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, cast

import pyarrow as pa

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.measure.throughput import throughput_row
from litelvlm.pipeline.output.coco import CocoAnnotation, CocoWriter, cvat_labels
from litelvlm.pipeline.output.image_index import ImageIndex
from litelvlm.pipeline.output.table_writer import RecordWriter, TableWriter, closing_or_discarding
from litelvlm.pipeline.schemas import (
    ANNOTATIONS_DIR,
    CVAT_LABELS_NAME,
    ERROR_SCHEMA,
    ERRORS_NAME,
    STATUS_FAILED,
    STATUS_OK,
    STATUSES,
    THROUGHPUT_NAME,
    THROUGHPUT_SCHEMA,
)
from litelvlm.pipeline.shards.manifest import Shard, selected_rows
from litelvlm.pipeline.shards.markers import Baseline, ShardMarker, find_markers, read_data, read_marker
from litelvlm.pipeline.storage.read_ahead import read_ahead
from litelvlm.pipeline.storage.store import Storage


@dataclass(kw_only=True)
class MergeTotals:
    """What went through the merge."""

    rows: int = 0
    records: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    images: int = 0
    annotations: int = 0
    coco_parts: int = 0
    record_parts: int = 0
    data_names: set[str] = field(default_factory=set)
    baselines: list[Baseline] = field(default_factory=list)


def merge_shards(
    storage: Storage, shards: Iterable[Shard], *, sample: float | None, gpus_per_actor: float, gpu_price: float | None
) -> MergeTotals:
    """Write records, COCO parts, errors and throughput from the shards' markers and data files.

    Raises:
        DataError: a shard has no marker, lacks records, holds rows of another, or is not what was committed.
    """
    shards = list(shards)
    totals = MergeTotals()
    with ImageIndex() as index:
        _fill_index(storage, shards, index)
        _merge(storage, shards, index, totals, sample=sample, gpus_per_actor=gpus_per_actor, gpu_price=gpu_price)
    if totals.records != sum(totals.statuses[status] for status in STATUSES):
        raise DataError(f"{totals.records} records do not add up to {dict(totals.statuses)}")
    return totals


def write_errors(storage: Storage, shards: Iterable[Shard]) -> None:
    """Write `errors.parquet` for a run that stops early, from the shards that are done."""
    with closing_or_discarding(TableWriter(storage, ERRORS_NAME, ERROR_SCHEMA)) as errors:
        for shard in shards:
            marker = read_marker(storage, shard.shard_id, ShardMarker)
            if marker.failed:
                rows = read_data(storage, marker).to_pylist()
                errors.add(_error_row(row, shard) for row in rows if row["status"] == STATUS_FAILED)


def _fill_index(storage: Storage, shards: list[Shard], index: ImageIndex) -> None:
    missing = []
    markers = find_markers(storage, (shard.shard_id for shard in shards), ShardMarker)
    for shard, marker in zip(shards, markers, strict=True):
        if marker is None:
            missing.append(shard.shard_id)
            continue
        for key, file_name in marker.image_keys:
            index.add_run(key, file_name)
    if missing:
        raise DataError(f"{len(missing)} shards have no marker, the first is {missing[0]}")
    if index.num_scattered:
        _put_aside(storage, shards, index)


def _put_aside(storage: Storage, shards: list[Shard], index: ImageIndex) -> None:
    position = 0
    for marker in find_markers(storage, (shard.shard_id for shard in shards), ShardMarker):
        if marker is None or not any(index.is_scattered(key) for key, _ in marker.image_keys):
            continue
        for record in read_data(storage, marker).to_pylist():
            if record["status"] == STATUS_OK and index.is_scattered(record["image_key"]):
                index.put_aside(record["image_key"], position, json.dumps(record))
                position += 1


def _merge(
    storage: Storage,
    shards: list[Shard],
    index: ImageIndex,
    totals: MergeTotals,
    *,
    sample: float | None,
    gpus_per_actor: float,
    gpu_price: float | None,
) -> None:
    coco = _CocoMerge(CocoWriter(lambda name: cast(BinaryIO, storage.open_write(f"{ANNOTATIONS_DIR}/{name}"))), index)

    def load(shard: Shard) -> tuple[Shard, ShardMarker, pa.Table]:
        marker = read_marker(storage, shard.shard_id, ShardMarker)
        return shard, marker, read_data(storage, marker)

    with (
        closing_or_discarding(RecordWriter(storage)) as records,
        closing_or_discarding(TableWriter(storage, ERRORS_NAME, ERROR_SCHEMA)) as errors,
        closing_or_discarding(TableWriter(storage, THROUGHPUT_NAME, THROUGHPUT_SCHEMA)) as throughput,
    ):
        for shard, marker, table in read_ahead(load, shards):
            rows = table.to_pylist()
            _check_rows(shard, rows, sample)
            names = [index.name(row["image_key"]) or row["file_name"] for row in rows]
            for row, name in zip(rows, names, strict=True):
                row["file_name"] = name
                coco.add(row)
            records.add(rows)
            errors.add(_error_row(row, shard) for row in rows if row["status"] == STATUS_FAILED)
            throughput.add([throughput_row(marker, gpus_per_actor=gpus_per_actor, gpu_price=gpu_price)])
            totals.data_names.add(marker.data.name)
            if marker.baseline is not None:
                totals.baselines.append(replace(marker.baseline, pairs=[]))
            _count(totals, shard, rows)
        summary = coco.close()
    totals.record_parts = records.num_parts
    storage.write_bytes(CVAT_LABELS_NAME, cvat_labels())
    totals.images, totals.annotations, totals.coco_parts = summary.images, summary.annotations, summary.parts


def _count(totals: MergeTotals, shard: Shard, rows: list[dict[str, Any]]) -> None:
    totals.rows += shard.num_rows
    totals.records += len(rows)
    for row in rows:
        totals.statuses[row["status"]] += 1
        if row["status"] == STATUS_FAILED:
            totals.reasons[row["error"]] += 1
    if len(totals.reasons) > 10_000:  # reasons hold free text; their table must not grow with the input
        totals.reasons = Counter(dict(totals.reasons.most_common(1_000)))


def _check_rows(shard: Shard, rows: list[dict[str, Any]], sample: float | None) -> None:
    """Every selected row of the shard has records, and no other row has."""
    found = {row["source_row"] for row in rows}
    wanted = set(selected_rows(shard.file, shard.row_start, shard.row_stop, sample)[: shard.num_rows])
    if found != wanted:
        missing, strange = len(wanted - found), len(found - wanted)
        raise DataError(f"shard {shard.shard_id}: {missing} input rows have no record, {strange} records no input row")
    keys = {(row["source_row"], row["phrase_index"]) for row in rows}
    if len(keys) != len(rows):
        raise DataError(f"shard {shard.shard_id}: {len(rows) - len(keys)} records are doubled")


def _error_row(row: dict[str, Any], shard: Shard) -> dict[str, Any]:
    return {name: row[name] for name in ERROR_SCHEMA.names if name != "shard_id"} | {"shard_id": shard.shard_id}


class _CocoMerge:
    """Collects adjacent records of one image into one COCO image; a scattered one is written where it is first met."""

    def __init__(self, writer: CocoWriter, index: ImageIndex) -> None:
        self._writer = writer
        self._index = index
        self._key: str | None = None
        self._rows: list[dict[str, Any]] = []
        self._written: set[str] = set()  # scattered images only

    def add(self, row: dict[str, Any]) -> None:
        if row["height"] is None:
            return
        if row["image_key"] != self._key:
            self._flush()
            self._key = row["image_key"]
        self._rows.append(row)

    def close(self) -> Any:
        self._flush()
        return self._writer.close()

    def _flush(self) -> None:
        if not self._rows:
            return
        key, rows, self._rows = self._rows[0]["image_key"], self._rows, []
        if self._index.is_scattered(key):
            if key in self._written:
                return
            self._written.add(key)
            annotated = [json.loads(content) for content in self._index.take(key)]
        else:
            annotated = [row for row in rows if row["status"] == STATUS_OK]
        self._writer.add_image(
            file_name=rows[0]["file_name"],
            height=rows[0]["height"],
            width=rows[0]["width"],
            annotations=[_annotation(row) for row in annotated],
        )


def _annotation(row: dict[str, Any]) -> CocoAnnotation:
    mask = EncodedMask(
        size_hw=(row["height"], row["width"]),
        counts=row["mask_rle"],
        area=row["area"],
        bbox_xywh=tuple(row["bbox_xywh"]),
    )
    return CocoAnnotation(mask=mask, phrase=row["phrase"], score=row["score"])
