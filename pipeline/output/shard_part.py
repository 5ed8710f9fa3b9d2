"""What of a merge can be done for every shard by itself: reading, checking, encoding. Runs in tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.output.coco import CocoAnnotation, encode_annotations
from litelvlm.pipeline.schemas import ERROR_SCHEMA, RECORD_SCHEMA, STATUS_FAILED, STATUS_OK
from litelvlm.pipeline.shards.manifest import Shard, selected_rows
from litelvlm.pipeline.shards.markers import ShardMarker, read_data
from litelvlm.pipeline.storage.store import Storage


@dataclass(frozen=True, kw_only=True)
class ImagePart:
    """A run of adjacent records of one image; its masks as COCO annotations that want their ids."""

    key: str
    file_name: str
    height: int
    width: int
    annotations: list[bytes]


@dataclass(frozen=True, kw_only=True)
class ShardPart:
    """A shard as the merge writes it: records as a table of `RECORD_SCHEMA`, and what is told of them."""

    records: pa.Table
    images: list[ImagePart]
    errors: list[dict[str, Any]]
    statuses: Counter[str]
    reasons: Counter[str]


def read_part(
    storage: Storage, shard: Shard, marker: ShardMarker, *, sample: float | None, renamed: dict[str, str]
) -> ShardPart:
    """Read a shard's data file, check it, encode its masks. `renamed` are names by image key.

    Raises:
        DataError: it lacks records, holds rows of another shard, or is not what was committed.
    """
    table = read_data(storage, marker)
    if renamed:
        table = _rename(table, renamed)
    rows = table.to_pylist()
    _check_rows(shard, rows, sample)
    failed = [row for row in rows if row["status"] == STATUS_FAILED]
    return ShardPart(
        records=table.select(RECORD_SCHEMA.names).cast(RECORD_SCHEMA),
        images=list(_images(rows)),
        errors=[error_row(row, shard) for row in failed],
        statuses=Counter(row["status"] for row in rows),
        reasons=Counter(row["error"] for row in failed),
    )


def error_row(row: dict[str, Any], shard: Shard) -> dict[str, Any]:
    """A failed record as `errors.parquet` has it."""
    return {name: row[name] for name in ERROR_SCHEMA.names if name != "shard_id"} | {"shard_id": shard.shard_id}


def _rename(table: pa.Table, renamed: dict[str, str]) -> pa.Table:
    keys, names = table.column("image_key").to_pylist(), table.column("file_name").to_pylist()
    given = [renamed.get(key, name) for key, name in zip(keys, names, strict=True)]
    place = table.schema.get_field_index("file_name")
    return table.set_column(
        place, table.schema.field(place), pa.array(given, pc.cast(table.column(place), pa.string()).type)
    )


def _images(rows: list[dict[str, Any]]) -> Iterator[ImagePart]:
    run: list[dict[str, Any]] = []
    for row in rows:
        if row["height"] is None:
            continue
        if run and run[-1]["image_key"] != row["image_key"]:
            yield _image(run)
            run = []
        run.append(row)
    if run:
        yield _image(run)


def _image(run: list[dict[str, Any]]) -> ImagePart:
    height, width = run[0]["height"], run[0]["width"]
    masks = [_annotation(row) for row in run if row["status"] == STATUS_OK]
    return ImagePart(
        key=run[0]["image_key"],
        file_name=run[0]["file_name"],
        height=height,
        width=width,
        annotations=encode_annotations(masks, height, width),
    )


def _annotation(row: dict[str, Any]) -> CocoAnnotation:
    mask = EncodedMask(
        size_hw=(row["height"], row["width"]),
        counts=row["mask_rle"],
        area=row["area"],
        bbox_xywh=tuple(row["bbox_xywh"]),
    )
    return CocoAnnotation(mask=mask, phrase=row["phrase"], score=row["score"])


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
