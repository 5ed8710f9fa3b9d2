"""Parquet tables of the output, written row group by row group, published as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.schemas import RECORD_SCHEMA, RECORDS_DIR
from litelvlm.pipeline.storage.store import Storage

W = TypeVar("W", bound="TableWriter | RecordWriter")

ROWS_PER_GROUP = 5_000
BYTES_PER_PART = 128 << 20  # of Arrow memory, before compression


class TableWriter:
    """A Parquet file of `name`, written in row groups of `ROWS_PER_GROUP`."""

    def __init__(self, storage: Storage, name: str, schema: pa.Schema) -> None:
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._stream = storage.open_write(name)
        self._writer = pq.ParquetWriter(self._stream, schema, compression="zstd")
        self.num_bytes = 0

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows, dicts by column name; others are left out."""
        self._rows.extend(rows)
        while len(self._rows) >= ROWS_PER_GROUP:
            self._write(self._rows[:ROWS_PER_GROUP])
            del self._rows[:ROWS_PER_GROUP]

    def close(self) -> None:
        """Write the rest and publish the file."""
        if self._rows:
            self._write(self._rows)
            self._rows = []
        self._writer.close()
        self._stream.close()

    def discard(self) -> None:
        """Publish nothing, unless it is published already; leaves no temporary file behind."""
        self._stream.discard()

    def _write(self, rows: list[dict[str, Any]]) -> None:
        table = pa.Table.from_pylist(rows, schema=self._schema)
        self.num_bytes += table.nbytes
        self._writer.write_table(table, row_group_size=ROWS_PER_GROUP)


@contextmanager
def closing_or_discarding(writer: W) -> Iterator[W]:
    """Close a writer that was left in peace; discard what one holds that was left by an exception."""
    try:
        yield writer
        writer.close()
    finally:
        writer.discard()


class RecordWriter:
    """`records/part-*.parquet`, a new part whenever the last one has grown to `BYTES_PER_PART`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.num_parts = 0
        self._part = self._open()

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Append the records of a shard."""
        if self._part.num_bytes >= BYTES_PER_PART:
            self._part.close()
            self._part = self._open()
        self._part.add(rows)

    def close(self) -> None:
        """Publish the last part."""
        self._part.close()

    def discard(self) -> None:
        """Leave the last part unpublished."""
        self._part.discard()

    def _open(self) -> TableWriter:
        name = f"{RECORDS_DIR}/part-{self.num_parts:05d}.parquet"
        self.num_parts += 1
        return TableWriter(self._storage, name, RECORD_SCHEMA)
