"""Merging the shards: records and COCO parts in the order of the input, the same bytes every time.

Two passes. The first goes over the markers and fills an `ImageIndex`; the second reads every data file once, checks and
encodes it in tasks beside each other, and writes here, in order. A few shards lie in memory at a time, besides the part
being written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, tee
from typing import Any, BinaryIO, cast

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.measure.throughput import throughput_row
from litelvlm.pipeline.output.coco import CocoSummary, CocoWriter, cvat_labels
from litelvlm.pipeline.output.image_index import Hashes, ImageIndex, hashes_of
from litelvlm.pipeline.output.parallel import ordered
from litelvlm.pipeline.output.shard_part import ImagePart, ShardPart, error_row, read_part
from litelvlm.pipeline.output.table_writer import RecordWriter, TableWriter, closing_or_discarding
from litelvlm.pipeline.schemas import (
    ANNOTATIONS_DIR,
    CVAT_LABELS_NAME,
    ERROR_SCHEMA,
    ERRORS_NAME,
    STATUS_FAILED,
    STATUSES,
    THROUGHPUT_NAME,
    THROUGHPUT_SCHEMA,
)
from litelvlm.pipeline.shards.manifest import Shard
from litelvlm.pipeline.shards.markers import Baseline, ShardMarker, find_markers, read_data
from litelvlm.pipeline.storage.store import Storage

_CHUNK = 32  # shards that a task reads
_INDEXED = 1_024  # shards whose image keys a task hashes
Committed = tuple[Shard, ShardMarker]


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
        _fill_index(storage, shards, index, sample)
        _merge(storage, shards, index, totals, sample=sample, gpus_per_actor=gpus_per_actor, gpu_price=gpu_price)
    if totals.records != sum(totals.statuses[status] for status in STATUSES):
        raise DataError(f"{totals.records} records do not add up to {dict(totals.statuses)}")
    return totals


def write_errors(storage: Storage, shards: Iterable[Shard]) -> None:
    """Write `errors.parquet` for a run that stops early, from the shards that are done."""
    with closing_or_discarding(TableWriter(storage, ERRORS_NAME, ERROR_SCHEMA)) as errors:
        for shard, marker in _committed(storage, list(shards)):
            if marker.failed:
                rows = read_data(storage, marker).to_pylist()
                errors.add(error_row(row, shard) for row in rows if row["status"] == STATUS_FAILED)


def _committed(storage: Storage, shards: Sequence[Shard]) -> Iterator[Committed]:
    """Shards with their markers, in order. Raises DataError where one has none."""
    missing = []
    markers = find_markers(storage, (shard.shard_id for shard in shards), ShardMarker)
    for shard, marker in zip(shards, markers, strict=True):
        if marker is None:
            missing.append(shard.shard_id)
        else:
            yield shard, marker
    if missing:
        raise DataError(f"{len(missing)} shards have no marker, the first is {missing[0]}")


def _chunks(items: Iterable[Committed], size: int) -> Iterator[list[Committed]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk


def _fill_index(storage: Storage, shards: list[Shard], index: ImageIndex, sample: float | None) -> None:
    for keys, stems in ordered(_hashed, _chunks(_committed(storage, shards), _INDEXED)):
        index.add(keys, stems)
    if index.clashing:
        index.rename(run for _, marker in _committed(storage, shards) for run in marker.image_keys)
    if index.scattered:
        _put_aside(storage, shards, index, sample)


def _hashed(chunk: list[Committed]) -> tuple[Hashes, Hashes]:
    return hashes_of([run for _, marker in chunk for run in marker.image_keys])


def _put_aside(storage: Storage, shards: list[Shard], index: ImageIndex, sample: float | None) -> None:
    found = (
        (shard, marker)
        for shard, marker in _committed(storage, shards)
        if any(key in index.scattered for key, _ in marker.image_keys)
    )
    read = partial(_read, storage, sample=sample, renamed={})
    for chunk in ordered(partial(_images_of, read), _chunks(found, _CHUNK)):
        for image in chunk:
            if image.key in index.scattered:
                index.put_aside(image.key, image.annotations)


def _images_of(read: Any, chunk: list[Committed]) -> list[ImagePart]:
    return [image for part in read(chunk) for image in part.images]


def _read(
    storage: Storage, chunk: list[Committed], *, sample: float | None, renamed: dict[str, str]
) -> list[ShardPart]:
    """In a task: some shards, ready to be written."""
    return [read_part(storage, shard, marker, sample=sample, renamed=renamed) for shard, marker in chunk]


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
    read = partial(_read, storage, sample=sample, renamed=index.renamed)
    committed, asked = tee(_committed(storage, shards))  # a few chunks apart
    parts = (part for chunk in ordered(read, _chunks(asked, _CHUNK)) for part in chunk)
    with (
        closing_or_discarding(RecordWriter(storage)) as records,
        closing_or_discarding(TableWriter(storage, ERRORS_NAME, ERROR_SCHEMA)) as errors,
        closing_or_discarding(TableWriter(storage, THROUGHPUT_NAME, THROUGHPUT_SCHEMA)) as throughput,
    ):
        for (shard, marker), part in zip(committed, parts, strict=True):
            for image in part.images:
                coco.add(image)
            records.add(part.records)
            errors.add(part.errors)
            throughput.add([throughput_row(marker, gpus_per_actor=gpus_per_actor, gpu_price=gpu_price)])
            totals.data_names.add(marker.data.name)
            if marker.baseline is not None:
                totals.baselines.append(replace(marker.baseline, pairs=[]))
            _count(totals, shard, part)
        summary = coco.close()
    totals.record_parts = records.num_parts
    storage.write_bytes(CVAT_LABELS_NAME, cvat_labels())
    totals.images, totals.annotations, totals.coco_parts = summary.images, summary.annotations, summary.parts


def _count(totals: MergeTotals, shard: Shard, part: ShardPart) -> None:
    totals.rows += shard.num_rows
    totals.records += part.records.num_rows
    totals.statuses.update(part.statuses)
    totals.reasons.update(part.reasons)
    if len(totals.reasons) > 10_000:  # reasons hold free text; their table must not grow with the input
        totals.reasons = Counter(dict(totals.reasons.most_common(1_000)))


class _CocoMerge:
    """Collects adjacent records of one image into one COCO image; a scattered one is written where it is first met."""

    def __init__(self, writer: CocoWriter, index: ImageIndex) -> None:
        self._writer = writer
        self._index = index
        self._last: ImagePart | None = None
        self._written: set[str] = set()  # scattered images only

    def add(self, image: ImagePart) -> None:
        if self._last is not None and self._last.key == image.key:  # at the border of two shards
            self._last = replace(self._last, annotations=[*self._last.annotations, *image.annotations])
            return
        self._flush()
        self._last = image

    def close(self) -> CocoSummary:
        self._flush()
        return self._writer.close()

    def _flush(self) -> None:
        image, self._last = self._last, None
        if image is None or image.key in self._written:
            return
        annotations = image.annotations
        if image.key in self._index.scattered:
            self._written.add(image.key)
            annotations = self._index.take(image.key)
        self._writer.add_encoded(
            file_name=image.file_name, height=image.height, width=image.width, annotations=annotations
        )
