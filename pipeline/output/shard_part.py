"""What of a merge can be done for some shards by themselves: reading, checking, encoding. Runs in tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.compute as pc

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.output.coco import CocoAnnotation, encode_annotations
from litelvlm.pipeline.schemas import ERROR_SCHEMA, RECORD_SCHEMA, STATUS_FAILED, STATUS_OK
from litelvlm.pipeline.shards.manifest import Shard, selected_rows
from litelvlm.pipeline.shards.markers import ShardMarker, read_data
from litelvlm.pipeline.storage.read_ahead import read_ahead
from litelvlm.pipeline.storage.store import Storage

Committed = tuple[Shard, ShardMarker]
Annotations = list[bytes]  # of one image, as `encode_annotations` has them


class _Row(NamedTuple):
    """What of a record the merge looks at."""

    source_row: int
    phrase_index: int
    record: str
    image_key: str
    image_id: str
    image_uri: str | None
    file_name: str
    height: int | None
    width: int | None
    status: str
    mask_rle: str | None
    area: int | None
    bbox_xywh: list[float] | None
    phrase: str
    score: float | None
    category_id: int | None


class ImageFacts(NamedTuple):
    """A run of adjacent records of one image, and the sizes of its annotations in bytes."""

    key: str
    image_id: str
    uri: str | None
    source: tuple[str, int]  # file and row of its first record
    file_name: str
    height: int
    width: int
    sizes: tuple[int, ...]


@dataclass(kw_only=True)
class PartFacts:
    """What is told of some shards: what the parts of the output are laid out by, and what is counted."""

    images: list[ImageFacts] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    num_records: int = 0
    num_bytes: int = 0  # of the records in Arrow's memory


def read_part(
    storage: Storage, committed: Sequence[Committed], *, sample: float | None, renamed: dict[str, str]
) -> tuple[PartFacts, pa.Table, list[Annotations]]:
    """Read the data files of shards, check them, encode their masks. `renamed` are names by image key.

    Returns what is told of them, their records as a table of `RECORD_SCHEMA`, and the annotations of every image.

    Raises:
        DataError: a file lacks records, holds rows of another shard, or is not what was committed.
    """
    facts = PartFacts()
    tables: list[pa.Table] = []
    annotations: list[Annotations] = []
    data = read_ahead(lambda one: read_data(storage, one[1]), committed)
    for (shard, _), table in zip(committed, data, strict=True):
        if renamed:
            table = _rename(table, renamed)
        columns = (table.column(name).to_pylist() for name in _Row._fields)
        rows = list(map(_Row._make, zip(*columns, strict=True)))
        _check_rows(shard, rows, sample)
        _add_images(shard, rows, facts.images, annotations)
        failed = table.filter(pc.equal(table.column("status"), STATUS_FAILED)).to_pylist()
        facts.errors += [error_row(row, shard) for row in failed]
        facts.reasons.update(row["error"] for row in failed)
        facts.statuses.update(row.status for row in rows)
        tables.append(table.select(RECORD_SCHEMA.names).cast(RECORD_SCHEMA))
    records = pa.concat_tables(tables).combine_chunks()
    facts.num_records, facts.num_bytes = records.num_rows, records.nbytes
    return facts, records, annotations


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


def _add_images(shard: Shard, rows: list[_Row], images: list[ImageFacts], annotations: list[Annotations]) -> None:
    """Add the images of a shard; the first may be the last one's of the shard before."""
    decoded = (row for row in rows if row.height is not None)
    for _, run in groupby(decoded, key=lambda row: row.image_key):
        _add_image(shard, list(run), images, annotations)


def _add_image(shard: Shard, run: list[_Row], images: list[ImageFacts], annotations: list[Annotations]) -> None:
    first = run[0]
    height, width = cast(int, first.height), cast(int, first.width)
    encoded = encode_annotations([_annotation(row) for row in run if row.status == STATUS_OK], height, width)
    source = shard.file, first.source_row
    if images and images[-1].key == first.image_key:
        encoded = annotations.pop() + encoded
        source = images.pop().source
    sizes = tuple(map(len, encoded))
    images.append(
        ImageFacts(first.image_key, first.image_id, first.image_uri, source, first.file_name, height, width, sizes)
    )
    annotations.append(encoded)


def _annotation(row: _Row) -> CocoAnnotation:
    box = row.bbox_xywh or ()
    mask = EncodedMask(
        size_hw=(cast(int, row.height), cast(int, row.width)),
        counts=cast(str, row.mask_rle),
        area=cast(int, row.area),
        bbox_xywh=cast(tuple[float, float, float, float], tuple(box)),
    )
    return CocoAnnotation(
        mask=mask,
        phrase=row.phrase,
        score=cast(float, row.score),
        category_id=cast(int, row.category_id),
        record=row.record,
    )


def _check_rows(shard: Shard, rows: list[_Row], sample: float | None) -> None:
    """Every selected row of the shard has records, and no other row has."""
    found = {row.source_row for row in rows}
    wanted = set(selected_rows(shard.file, shard.row_start, shard.row_stop, sample)[: shard.num_rows])
    if found != wanted:
        missing, strange = len(wanted - found), len(found - wanted)
        raise DataError(f"shard {shard.shard_id}: {missing} input rows have no record, {strange} records no input row")
    keys = {(row.source_row, row.phrase_index) for row in rows}
    if len(keys) != len(rows):
        raise DataError(f"shard {shard.shard_id}: {len(rows) - len(keys)} records are doubled")
