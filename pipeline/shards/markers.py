"""Markers: that a shard is done, which data file holds its rows, and what it took.

A shard counts once `_done/<shard>.json` exists. It is created exclusively, after the data file that it names, so that
readers who trust markers alone never see half a shard, and a second writer loses harmlessly.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.contracts import Contract
from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.schemas import DONE_DIR, SHARD_SCHEMA, data_name, marker_name
from litelvlm.pipeline.shards.marker_log import LoggedMarkers
from litelvlm.pipeline.storage.parquet import read_parquet
from litelvlm.pipeline.storage.read_ahead import read_ahead
from litelvlm.pipeline.storage.store import Storage

MARKER_SUFFIX = ".json"

#: Intersection and union in pixels of a mask with the truth; None where the truth of its phrase is not known.
Overlap = tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A shard's data file: its name in the output, checksum (SHA-256, hex) and size in bytes."""

    name: str
    sha256: str
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class Marker(Contract):
    """What every marker says.

    Attributes:
        shard_id, index: of the shard.
        rows: input rows it covers.
        failed: of the rows in its data file, those that failed.
        data: where its rows are.
        finished_at: seconds since the epoch.
    """

    shard_id: str
    index: int
    rows: int
    failed: int
    data: DataFile
    finished_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ShardFacts:
    """What a shard was, and where it was annotated.

    Attributes:
        images, prompts: that went through the model.
        megapixels: 1e6 pixels of all decoded images.
        visual_tokens, retained_tokens, text_tokens: over all prompts.
        tflop, unpruned_tflop: needed operations, 1e12; None for a model whose sizes are not known.
        bytes_read: of encoded images.
        attempts: how often annotating was begun in this execution.
        actor_from, actor_to: seconds since the epoch between which the shard's share of the device lies.
        baseline_error: why there is no comparison, where there should be one.
        formulation: how the model's parts computed.
    """

    images: int
    prompts: int
    megapixels: float
    visual_tokens: int
    retained_tokens: int
    text_tokens: int
    tflop: float | None
    unpruned_tflop: float | None
    bytes_read: int
    node: str
    device: str
    actor: str
    attempts: int
    actor_from: float
    actor_to: float
    baseline_error: str | None = None
    formulation: str | None = None


@dataclass(frozen=True, kw_only=True)
class MaskPair:
    """The two masks of one phrase, pruned and unpruned, as COCO's compressed counts, and their IoU."""

    source_row: int
    phrase_index: int
    iou: float
    size_hw: tuple[int, int]
    pruned_rle: str
    unpruned_rle: str


@dataclass(frozen=True, kw_only=True)
class WayTaken:
    """What one way, pruned or unpruned, took: seconds, those of the prefill among them, most device memory in bytes."""

    s: float
    llm_s: float
    peak_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A shard's part of the comparison with the unpruned model.

    Attributes:
        iou: of the two masks of every phrase.
        pairs: the phrases whose masks agree least.
        truth: way (`pruned`, `unpruned`) -> overlap of every phrase's mask with the truth; None without any truth.
        num_bad_truths: rows whose true masks cannot be read.
    """

    images: int
    phrases: int
    pruned: WayTaken
    unpruned: WayTaken
    iou: list[float]
    pairs: list[MaskPair] = field(default_factory=list)
    truth: dict[str, list[Overlap]] | None = None
    num_bad_truths: int = 0


@dataclass(frozen=True, kw_only=True)
class ShardMarker(Marker):
    """The marker of an annotated shard.

    Attributes:
        records, ok, empty, absent, dropped: in its data file.
        reasons: the most frequent ones of its failed records.
        image_keys: key and file name of every run of adjacent records of one image.
        seconds: by stage and by kind, see `THROUGHPUT_SCHEMA`.
    """

    records: int
    ok: int
    empty: int
    dropped: int
    reasons: dict[str, int]
    image_keys: list[tuple[str, str]]
    seconds: dict[str, float]
    facts: ShardFacts
    absent: int = 0
    baseline: Baseline | None = None


M = TypeVar("M", bound=Marker)


def write_data(storage: Storage, shard_id: str, rows: list[dict[str, object]], schema: pa.Schema) -> DataFile:
    """Write a shard's rows under a name of their own."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
    data = buffer.getvalue()
    name = data_name(shard_id, uuid.uuid4().hex[:16])
    storage.write_bytes(name, data)
    return DataFile(name=name, sha256=hashlib.sha256(data).hexdigest(), num_bytes=len(data))


def read_data(storage: Storage, marker: Marker, schema: pa.Schema = SHARD_SCHEMA) -> pa.Table:
    """The rows that a marker stands for, of these columns of `SHARD_SCHEMA`.

    Raises:
        DataError: the data file is gone or is not the one that was committed.
    """
    name = marker.data.name
    again = f"remove {marker_name(marker.shard_id)} and run again to have the shard done anew"
    try:
        data = storage.read_bytes(name)
    except FileNotFoundError as error:
        raise DataError(f"{name} is gone, though its marker says it was written; {again}") from error
    if hashlib.sha256(data).hexdigest() != marker.data.sha256:
        raise DataError(f"{name} is not what was committed: its checksum differs; {again}")
    # `read_table` takes 2 ms more
    table = read_parquet(data, schema.names)
    return table if table.schema.equals(schema) else table.select(schema.names).cast(schema)


def create_marker(storage: Storage, marker: M) -> M:
    """Create a shard's marker, unless somebody did. Returns the one that counts."""
    marker = dataclasses.replace(marker, finished_at=time.time())
    if not storage.create_exclusive(marker_name(marker.shard_id), marker.to_json()):
        return read_marker(storage, marker.shard_id, type(marker))
    return marker


def read_marker(storage: Storage, shard_id: str, kind: type[M]) -> M:
    """The marker of a shard that is done. Raises FileNotFoundError where it is not, DataError where it is damaged."""
    name = marker_name(shard_id)
    return kind.from_json(storage.read_bytes(name), name)


def find_marker(storage: Storage, shard_id: str, kind: type[M]) -> M | None:
    """The marker of a shard; None while it is not done, whatever a listing says."""
    try:
        return read_marker(storage, shard_id, kind)
    except FileNotFoundError:
        return None


def find_markers(storage: Storage, shard_ids: Iterable[str], kind: type[M]) -> Iterator[M | None]:
    """The same for many shards, in their order: from the logs those that are listed, one by one the few others."""
    listed, logged = done_shards(storage), LoggedMarkers(storage)

    def find(shard_id: str) -> M | None:
        content = logged.find(shard_id) if shard_id in listed else None
        if content is None:
            return find_marker(storage, shard_id, kind)
        return kind.from_json(content, marker_name(shard_id))

    return read_ahead(find, shard_ids)


def done_shards(storage: Storage) -> set[str]:
    """Ids of the shards that have a marker, some of the last ones perhaps missing: a listing may lag. One listing."""
    names = (name.rsplit("/", 1)[1] for name in storage.list(DONE_DIR))
    return {name.removesuffix(MARKER_SUFFIX) for name in names if name.endswith(MARKER_SUFFIX)}


def committed(storage: Storage, kind: type[M]) -> Iterator[M]:
    """The markers of all shards that are done by now, by id. One listing."""
    return (marker for marker in find_markers(storage, sorted(done_shards(storage)), kind) if marker is not None)
