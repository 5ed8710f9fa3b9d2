"""Rows of one shard from its Parquet file: streamed, so that a large row group never lies in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.columns import ColumnMapping, iter_rows
from pipeline.plan import Shard, selected_rows
from pipeline.storage import filesystem_for, with_retries

_BATCH_ROWS = 16
_BUFFER_BYTES = 1 << 20
_CHECK_BYTES = 8 << 20
_ARROW_ERRORS = (pa.ArrowException, OSError, ValueError)


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """A row of the input: its number in the file and its cells, or why it cannot be read."""

    number: int
    cells: dict[str, Any]
    error: str | None = None


def read_shard(
    shard: Shard, mapping: ColumnMapping, options: dict[str, Any], *, sample: float | None
) -> Iterator[SourceRow]:
    """Every selected row of the shard, once, in order.

    Rows from the first corrupt page on come with an error, because Parquet cannot be read past it.

    Raises:
        StorageError: the file cannot be read although its content may be fine.
    """
    wanted = list(selected_rows(shard.file, shard.row_start, shard.row_stop, sample))
    done = 0
    try:
        for row in _stream(shard, mapping, options):
            if done < len(wanted) and row.number == wanted[done]:
                done += 1
                yield row
            if done == len(wanted):
                return
        reason = "the row group ends before this row"
    except _ARROW_ERRORS as error:
        _check_storage(shard, options)
        reason = f"corrupt Parquet data: {_first_line(error)}"
    for number in wanted[done:]:
        yield SourceRow(number=number, cells={}, error=reason)


def _stream(shard: Shard, mapping: ColumnMapping, options: dict[str, Any]) -> Iterator[SourceRow]:
    fs, bare = filesystem_for(shard.file, options)
    number = shard.row_group_start
    with with_retries(lambda: fs.open(bare, "rb"), f"opening {shard.file}") as file:
        parquet = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        batches = parquet.iter_batches(
            batch_size=_BATCH_ROWS, row_groups=[shard.row_group], columns=mapping.columns(), use_threads=False
        )
        for batch in batches:
            skip = max(0, shard.row_start - number)
            if skip < batch.num_rows:
                for offset, cells in enumerate(iter_rows(batch.slice(skip), mapping)):
                    yield SourceRow(number=number + skip + offset, cells=cells)
            number += batch.num_rows


def _check_storage(shard: Shard, options: dict[str, Any]) -> None:
    """Read the row group's bytes. Raises StorageError when that fails: then the store is at fault, not the data."""
    fs, bare = filesystem_for(shard.file, options)
    start, stop = with_retries(lambda: _byte_range(fs, bare, shard.row_group), f"reading {shard.file}")
    for offset in range(start, stop, _CHECK_BYTES):
        end = min(offset + _CHECK_BYTES, stop)
        with_retries(partial(fs.cat_file, bare, start=offset, end=end), f"reading {shard.file}")


def _byte_range(fs: fsspec.AbstractFileSystem, bare: str, row_group: int) -> tuple[int, int]:
    with fs.open(bare, "rb") as file:
        group = pq.ParquetFile(file).metadata.row_group(row_group)
    size = int(fs.size(bare))
    columns = [group.column(index) for index in range(group.num_columns)]
    starts = [column.dictionary_page_offset or column.data_page_offset for column in columns]
    stops = [start + column.total_compressed_size for start, column in zip(starts, columns, strict=True)]
    return max(0, min(starts, default=0)), min(size, max(stops, default=0))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
