"""What of a merge can be done for some shards by themselves: reading, checking, encoding. Runs in tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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

_READ = (
    "source_row", "phrase_index", "image_key", "image_id", "file_name", "height", "width", "status", "mask_rle", "area",
    "bbox_xywh", "phrase", "score", "category_id",
)  # fmt: skip


class ImageFacts(NamedTuple):
    """A run of adjacent records of one image, and the sizes of its annotations in bytes."""

    key: str
    image_id: str
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
        columns = [table.column(name).to_pylist() for name in _READ]
        _check_rows(shard, columns[0], columns[1], sample)
        _add_images(list(zip(*columns[2:], strict=True)), facts.images, annotations)
        failed = table.filter(pc.equal(table.column("status"), STATUS_FAILED)).to_pylist()
        facts.errors += [error_row(row, shard) for row in failed]
        facts.reasons.update(row["error"] for row in failed)
        facts.statuses.update(columns[_READ.index("status")])
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


def _add_images(rows: list[tuple[Any, ...]], images: list[ImageFacts], annotations: list[Annotations]) -> None:
    """Add the images of a shard; the first may be the last one's of the shard before."""
    run: list[tuple[Any, ...]] = []
    for row in rows:
        if row[3] is None:  # height: it could not be decoded
            continue
        if run and run[-1][0] != row[0]:
            _add_image(run, images, annotations)
            run = []
        run.append(row)
    if run:
        _add_image(run, images, annotations)


def _add_image(run: list[tuple[Any, ...]], images: list[ImageFacts], annotations: list[Annotations]) -> None:
    key, image_id, file_name, height, width = run[0][:5]
    masks = []
    for _, _, _, row_height, row_width, status, counts, area, box, phrase, score, category_id in run:
        if status == STATUS_OK:
            mask = EncodedMask(size_hw=(row_height, row_width), counts=counts, area=area, bbox_xywh=tuple(box))
            masks.append(CocoAnnotation(mask=mask, phrase=phrase, score=score, category_id=category_id))
    encoded = encode_annotations(masks, height, width)
    if images and images[-1].key == key:
        encoded = annotations.pop() + encoded
        images.pop()
    images.append(ImageFacts(key, image_id, file_name, height, width, tuple(map(len, encoded))))
    annotations.append(encoded)


def _check_rows(shard: Shard, source_rows: list[int], phrase_indices: list[int], sample: float | None) -> None:
    """Every selected row of the shard has records, and no other row has."""
    found = set(source_rows)
    wanted = set(selected_rows(shard.file, shard.row_start, shard.row_stop, sample)[: shard.num_rows])
    if found != wanted:
        missing, strange = len(wanted - found), len(found - wanted)
        raise DataError(f"shard {shard.shard_id}: {missing} input rows have no record, {strange} records no input row")
    keys = set(zip(source_rows, phrase_indices, strict=True))
    if len(keys) != len(source_rows):
        raise DataError(f"shard {shard.shard_id}: {len(source_rows) - len(keys)} records are doubled")
