"""A piece of a source to Parquet files: the images, if they are to be in them, and what was counted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.fetch.fetcher import ImageFetcher
from litelvlm.pipeline.fetch.policy import FetchError, UriPolicy
from litelvlm.pipeline.prepare.pieces import Notes, Piece
from litelvlm.pipeline.prepare.rows import MASK_SCHEMA, SCHEMA, PreparedRow, to_table
from litelvlm.pipeline.storage.store import Storage

DONE = "_done"
_PART_ROWS = 20_000
_PART_BYTES = 512 << 20  # of memory, before compression
_GROUP_BYTES = 256 << 20  # of memory: a row group of large images is cut short


@dataclass(frozen=True, kw_only=True)
class WritePlan:
    """How rows are written.

    Attributes:
        phrases: asked of images that have none.
        policy: what images may be read from; None where they stay where they are.
        limit: rows of a piece; None for all.
    """

    storage: Storage
    rows_per_group: int
    has_masks: bool
    phrases: tuple[str, ...] = ()
    policy: UriPolicy | None = None
    limit: int | None = None


@dataclass(kw_only=True)
class Counts:
    """What a piece came to."""

    rows: int = 0
    phrases: int = 0
    parts: int = 0
    without_phrases: int = 0
    notes: dict[str, tuple[int, str]] = field(default_factory=dict)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Counts:
        values = json.loads(data)
        notes = {words: (count, where) for words, (count, where) in values.pop("notes").items()}
        return cls(**values, notes=notes)


def write_piece(plan: WritePlan, number: int, piece: Piece) -> Counts:
    """Write a piece's rows as `part-<number>-<part>.parquet`, then that it is done. The same rows give the same files.

    Raises:
        ValueError: the source cannot be read. What can be read of it is not left standing as if it were all.
        StorageError: a store failed.
    """
    name = done_name(number)
    if plan.storage.exists(name):
        return Counts.from_json(plan.storage.read_bytes(name))
    counts, notes = Counts(), Notes()
    rows = completed(plan, piece.rows(notes), counts, notes)
    counts.parts = write_rows(plan, f"part-{number:05d}", islice(rows, plan.limit), counts)
    counts.notes = notes.found
    plan.storage.write_bytes(name, counts.to_json())
    return counts


def done_name(number: int) -> str:
    """The name of what says that a piece is done."""
    return f"{DONE}/{number:05d}.json"


def completed(plan: WritePlan, rows: Iterable[PreparedRow], counts: Counts, notes: Notes) -> Iterator[PreparedRow]:
    """Rows with phrases, and with their images where these are to be in the table."""
    fetcher = ImageFetcher(plan.policy, plan.storage.options) if plan.policy is not None else None
    for row in rows:
        if not row.phrases and plan.phrases:
            masks = (None,) * len(plan.phrases) if plan.has_masks else None
            row = _replace(row, phrases=plan.phrases, masks=masks)
        if fetcher is not None and row.data is None and row.path is not None:
            row = _embedded(row, fetcher, notes)
        yield row


def write_rows(plan: WritePlan, name: str, rows: Iterable[PreparedRow], counts: Counts) -> int:
    """Write files of whole row groups. Returns how many."""
    schema = MASK_SCHEMA if plan.has_masks else SCHEMA
    parts = 0
    for groups in _parts(_groups(rows, plan.rows_per_group)):
        with plan.storage.open_write(f"{name}-{parts:03d}.parquet") as stream:
            writer = pq.ParquetWriter(stream, schema, compression="zstd")
            for group in groups:
                table: pa.Table = to_table(group, has_masks=plan.has_masks)
                writer.write_table(table, row_group_size=len(group))
                counts.rows += len(group)
                counts.phrases += sum(len(row.phrases) for row in group)
                counts.without_phrases += sum(not row.phrases for row in group)
            writer.close()
        parts += 1
    return parts


def _groups(rows: Iterable[PreparedRow], size: int) -> Iterator[list[PreparedRow]]:
    group: list[PreparedRow] = []
    num_bytes = 0
    for row in rows:
        group.append(row)
        num_bytes += row.num_bytes
        if len(group) >= size or num_bytes >= _GROUP_BYTES:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group


def _parts(groups: Iterator[list[PreparedRow]]) -> Iterator[Iterator[list[PreparedRow]]]:
    """Groups of each file. Each must be read to its end before the next."""
    ahead = next(groups, None)

    def of_one() -> Iterator[list[PreparedRow]]:
        nonlocal ahead
        num_rows = num_bytes = 0
        while ahead is not None and num_rows < _PART_ROWS and num_bytes < _PART_BYTES:
            group, num_rows = ahead, num_rows + len(ahead)
            num_bytes += sum(row.num_bytes for row in group)
            yield group
            ahead = next(groups, None)

    while ahead is not None:
        yield of_one()


def _embedded(row: PreparedRow, fetcher: ImageFetcher, notes: Notes) -> PreparedRow:
    """The row with its image; as it is where that cannot be read, so that its records fail with the reason."""
    assert row.path is not None
    try:
        return _replace(row, data=fetcher.fetch(row.path))
    except FetchError as error:
        notes.add(f"images are not in the table ({error.code})", re.sub(r"[?#].*", "", row.path)[:200])
        return row


def _replace(row: PreparedRow, **values: Any) -> PreparedRow:
    return PreparedRow(
        **{name: getattr(row, name) for name in ("image_id", "data", "path", "phrases", "masks")} | values
    )
