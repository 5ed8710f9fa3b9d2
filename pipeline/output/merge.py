"""Merging the shards: records and COCO parts in the order of the input, the same bytes every time.

Two passes. The first goes over the markers and fills an `ImageIndex`. In the second, tasks beside each other read,
check and encode some shards each; what they make stays in the cluster's object store. Here is decided, by what they
tell, which part holds what, and others write the parts. Few parts are under way at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice, tee
from typing import BinaryIO, cast

import pyarrow as pa
import ray

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.measure.throughput import throughput_row
from litelvlm.pipeline.ontology import OBJECT, Category
from litelvlm.pipeline.output.coco import CocoLayout, Place, cvat_labels, numbered, part_head, part_name, write_part
from litelvlm.pipeline.output.image_index import ImageIndex
from litelvlm.pipeline.output.parallel import Kept, Tasks, chunks
from litelvlm.pipeline.output.shard_part import Annotations, Committed, ImageFacts, PartFacts, error_row, read_part
from litelvlm.pipeline.output.table_writer import TableWriter, closing_or_discarding
from litelvlm.pipeline.output.unique_names import Hashes, hashes_of, whole_name
from litelvlm.pipeline.schemas import (
    ANNOTATIONS_DIR,
    CVAT_LABELS_NAME,
    ERROR_SCHEMA,
    ERRORS_NAME,
    NAMES_NAME,
    NAMES_SCHEMA,
    RECORD_SCHEMA,
    RECORDS_DIR,
    STATUS_FAILED,
    STATUSES,
    THROUGHPUT_NAME,
    THROUGHPUT_SCHEMA,
)
from litelvlm.pipeline.shards.manifest import Shard
from litelvlm.pipeline.shards.markers import Baseline, ShardMarker, find_markers, read_data
from litelvlm.pipeline.storage.store import Storage

RECORD_PART_BYTES = 128 << 20  # of Arrow's memory, before compression
_CHUNK = 32  # shards that a task reads
_INDEXED = 1_024  # shards whose image keys a task hashes


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
    formulations: set[str] = field(default_factory=set)


def merge_shards(
    storage: Storage,
    shards: Iterable[Shard],
    *,
    sample: float | None,
    gpus_per_actor: float,
    gpu_price: float | None,
    categories: Sequence[Category] = (OBJECT,),
    watch: Callable[[int], None] = lambda num_shards: None,
) -> MergeTotals:
    """Write records, COCO parts, errors and throughput from the shards' markers and data files.

    `watch` is told how many shards have been read.

    Raises:
        DataError: a shard has no marker, lacks records, holds rows of another, or is not what was committed.
    """
    shards = list(shards)
    tasks = Tasks(beside=ray.is_initialized() and len(shards) > _CHUNK)
    totals = MergeTotals()
    with ImageIndex() as index:
        _fill_index(storage, shards, index, sample, tasks)
        read = partial(read_part, storage, sample=sample, renamed=index.renamed)
        records = _RecordParts(storage, tasks)
        with (
            closing_or_discarding(TableWriter(storage, NAMES_NAME, NAMES_SCHEMA)) as names,
            closing_or_discarding(TableWriter(storage, ERRORS_NAME, ERROR_SCHEMA)) as errors,
            closing_or_discarding(TableWriter(storage, THROUGHPUT_NAME, THROUGHPUT_SCHEMA)) as throughput,
        ):
            coco = _CocoParts(storage, index, tasks, part_head(None, categories), names)
            committed, asked = tee(_committed(storage, shards))  # some chunks apart
            for facts, table, annotations in tasks.ordered(read, chunks(asked, _CHUNK), num_kept=2):
                chunk = list(islice(committed, _CHUNK))
                coco.add(facts.images, annotations)
                records.add(facts, table)
                errors.add(facts.errors)
                throughput.add(
                    throughput_row(one, gpus_per_actor=gpus_per_actor, gpu_price=gpu_price) for _, one in chunk
                )
                _count(totals, facts, chunk)
                watch(len(totals.data_names))
            coco.close()
            records.close()
            tasks.finish()
    storage.write_bytes(CVAT_LABELS_NAME, cvat_labels(categories))
    totals.record_parts, totals.coco_parts = records.num_parts, coco.num_parts
    totals.images, totals.annotations = coco.layout.num_images, coco.layout.num_annotations
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


def _fill_index(storage: Storage, shards: list[Shard], index: ImageIndex, sample: float | None, tasks: Tasks) -> None:
    for ((keys, names),) in tasks.ordered(_hashed, chunks(_committed(storage, shards), _INDEXED), num_kept=0):
        index.add(keys, names)
    if index.clashing:
        index.rename(run for _, marker in _committed(storage, shards) for run in marker.image_keys)
    if index.scattered:
        found = (
            (shard, marker)
            for shard, marker in _committed(storage, shards)
            if any(key in index.scattered for key, _ in marker.image_keys)
        )
        read = partial(_scattered, storage, sample, index.scattered)
        for (images,) in tasks.ordered(read, chunks(found, _CHUNK), num_kept=0):
            for key, annotations in images:
                index.put_aside(key, annotations)


def _hashed(chunk: list[Committed]) -> tuple[tuple[Hashes, Hashes]]:
    return (hashes_of([run for _, marker in chunk for run in marker.image_keys], whole_name),)


def _scattered(
    storage: Storage, sample: float | None, scattered: frozenset[str], chunk: list[Committed]
) -> tuple[list[tuple[str, Annotations]]]:
    """In a task: key and annotations of the scattered images of some shards."""
    facts, _, annotations = read_part(storage, chunk, sample=sample, renamed={})
    images = zip(facts.images, annotations, strict=True)
    return ([(image.key, mine) for image, mine in images if image.key in scattered],)


def _count(totals: MergeTotals, facts: PartFacts, chunk: list[Committed]) -> None:
    for shard, marker in chunk:
        totals.rows += shard.num_rows
        totals.data_names.add(marker.data.name)
        if marker.facts.formulation is not None:
            totals.formulations.add(marker.facts.formulation)
        if marker.baseline is not None:
            totals.baselines.append(replace(marker.baseline, pairs=[]))
    totals.records += facts.num_records
    totals.statuses.update(facts.statuses)
    totals.reasons.update(facts.reasons)
    if len(totals.reasons) > 10_000:  # reasons hold free text; their table must not grow with the input
        totals.reasons = Counter(dict(totals.reasons.most_common(1_000)))


class _RecordParts:
    """`records/part-*.parquet`, a new one whenever the last has grown to `RECORD_PART_BYTES`."""

    def __init__(self, storage: Storage, tasks: Tasks) -> None:
        self._storage, self._tasks = storage, tasks
        self._tables: list[Kept[pa.Table]] = []
        self._num_bytes = self.num_parts = 0

    def add(self, facts: PartFacts, table: Kept[pa.Table]) -> None:
        if self._num_bytes >= RECORD_PART_BYTES:
            self._write()
        self._tables.append(table)
        self._num_bytes += facts.num_bytes

    def close(self) -> None:
        self._write()

    def _write(self) -> None:
        name = f"{RECORDS_DIR}/part-{self.num_parts:05d}.parquet"
        self._tasks.begin(_write_records, self._storage, name, self._tables)
        self.num_parts += 1
        self._tables, self._num_bytes = [], 0


def _write_records(storage: Storage, name: str, tables: list[Kept[pa.Table]]) -> None:
    with closing_or_discarding(TableWriter(storage, name, RECORD_SCHEMA)) as writer:
        for table in tables:
            writer.add_table(table.get())


#: Where annotations of an image lie: number of a content, and of the image in it; or they themselves.
_Source = tuple[int, int] | Annotations
_Entry = tuple[Place, list[_Source]]


class _CocoParts:
    """Lays out COCO parts and has them written.

    Adjacent records of one image become one COCO image; a scattered one is written where it is first met.
    """

    def __init__(self, storage: Storage, index: ImageIndex, tasks: Tasks, head: bytes, names: TableWriter) -> None:
        self._storage, self._index, self._tasks, self._head, self._names = storage, index, tasks, head, names
        self.layout, self.num_parts = CocoLayout(head=head), 0
        self._written: set[str] = set()  # scattered images only
        self._num_contents = 0
        self._contents: dict[int, Kept[list[Annotations]]] = {}  # those that a part is still to be made of
        self._entries: list[_Entry] = []
        self._last: tuple[ImageFacts, list[_Source]] | None = None

    def add(self, images: list[ImageFacts], annotations: Kept[list[Annotations]]) -> None:
        """The next images, and where their annotations are."""
        content, self._num_contents = self._num_contents, self._num_contents + 1
        self._contents[content] = annotations
        for number, image in enumerate(images):
            sources: list[_Source] = [(content, number)]
            if self._last is not None:
                last, before = self._last
                if last.key == image.key:  # at the border of two chunks
                    image, sources = last._replace(sizes=last.sizes + image.sizes), before + sources
                else:
                    self._place(last, before)
            self._last = image, sources
        self._drop_unused()

    def close(self) -> None:
        """Have the last part written; there is always one."""
        if self._last is not None:
            self._place(*self._last)
        if self._entries or self.num_parts == 0:
            self._write()

    def _place(self, image: ImageFacts, sources: list[_Source]) -> None:
        if image.key in self._index.scattered:
            if image.key in self._written:
                return
            self._written.add(image.key)
            taken = self._index.take(image.key)
            image, sources = image._replace(sizes=tuple(map(len, taken))), [taken]
        place = self.layout.place(
            file_name=image.file_name,
            height=image.height,
            width=image.width,
            sizes=image.sizes,
            source_id=image.image_id,
        )
        if place.begins_part:
            self._write()
        self._entries.append((place, sources))
        self._names.add(
            [
                {
                    "id": place.image_id,
                    "file_name": image.file_name,
                    "image_id": image.image_id,
                    "image_uri": image.uri,
                    "source_file": image.source[0],
                    "source_row": image.source[1],
                }
            ]
        )

    def _write(self) -> None:
        used = _contents_of(sources for _, sources in self._entries)
        name = f"{ANNOTATIONS_DIR}/{part_name(self.num_parts)}"
        contents = {number: self._contents[number] for number in used}
        self._tasks.begin(_write_coco, self._storage, name, self._head, self._entries, contents)
        self.num_parts += 1
        self._entries = []

    def _drop_unused(self) -> None:
        used = _contents_of(sources for _, sources in self._entries)
        if self._last is not None:
            used |= _contents_of([self._last[1]])
        self._contents = {number: content for number, content in self._contents.items() if number in used}


def _contents_of(sources: Iterable[list[_Source]]) -> set[int]:
    return {source[0] for source in chain.from_iterable(sources) if isinstance(source, tuple)}


def _write_coco(
    storage: Storage, name: str, head: bytes, entries: list[_Entry], contents: dict[int, Kept[list[Annotations]]]
) -> None:
    """In a task: a part."""
    found = {number: content.get() for number, content in contents.items()}

    def annotations() -> Iterator[bytes]:
        for place, sources in entries:
            lists = (found[source[0]][source[1]] if isinstance(source, tuple) else source for source in sources)
            yield from numbered(place, chain.from_iterable(lists))

    with storage.open_write(name) as stream:
        write_part(cast(BinaryIO, stream), head, (place.entry for place, _ in entries), annotations())
