"""Parquet tables of the output, written row group by row group, published as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.storage.store import Storage

W = TypeVar("W", bound="TableWriter")

ROWS_PER_GROUP = 5_000


class TableWriter:
    """A Parquet file of `name`, written in row groups of `ROWS_PER_GROUP`."""

    def __init__(self, storage: Storage, name: str, schema: pa.Schema) -> None:
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0
        self._stream = storage.open_write(name)
        self._writer = pq.ParquetWriter(self._stream, schema, compression="zstd")

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows, dicts by column name; others are left out."""
        self._rows.extend(rows)
        if len(self._rows) >= ROWS_PER_GROUP:
            self._add_rows()

    def add_table(self, table: pa.Table) -> None:
        """Append a table of the schema."""
        self._add_rows()
        self._wait(table)

    def _add_rows(self) -> None:
        """Rows become a table together: one for each shard would cost more than the shard."""
        if self._rows:
            rows, self._rows = self._rows, []
            self._wait(pa.Table.from_pylist(rows, schema=self._schema))

    def _wait(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._num_waiting += table.num_rows
        if self._num_waiting >= ROWS_PER_GROUP:
            self._flush(all_rows=False)

    def close(self) -> None:
        """Write the rest and publish the file."""
        self._add_rows()
        self._flush(all_rows=True)
        self._writer.close()
        self._stream.close()

    def discard(self) -> None:
        """Publish nothing, unless it is published already; leaves no temporary file behind."""
        self._stream.discard()

    def _flush(self, *, all_rows: bool) -> None:
        waiting = pa.concat_tables(self._waiting) if self._waiting else self._schema.empty_table()
        stop = waiting.num_rows if all_rows else waiting.num_rows // ROWS_PER_GROUP * ROWS_PER_GROUP
        for at in range(0, stop, ROWS_PER_GROUP):
            group = waiting.slice(at, min(ROWS_PER_GROUP, stop - at)).combine_chunks()
            self._writer.write_table(group, row_group_size=ROWS_PER_GROUP)
        self._waiting, self._num_waiting = [waiting.slice(stop)], waiting.num_rows - stop


@contextmanager
def closing_or_discarding(writer: W) -> Iterator[W]:
    """Close a writer that was left in peace; discard what one holds that was left by an exception."""
    try:
        yield writer
        writer.close()
    finally:
        writer.discard()
