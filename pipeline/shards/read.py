"""Rows of shards from their Parquet file: streamed, so that a large row group never lies in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.shards.manifest import Shard, selected_rows
from litelvlm.pipeline.storage.range_file import ChangedError, RangeFile
from litelvlm.pipeline.storage.retries import RetryPolicy
from litelvlm.pipeline.table.columns import ColumnMapping
from litelvlm.pipeline.table.footers import chunk_ends, known_footer, shard_digest
from litelvlm.pipeline.table.rows import iter_rows

_BATCH_ROWS = 4  # one dictionary value of 150 MB may stand in each of them
_BUFFER_BYTES = 1 << 20
_ARROW_ERRORS = (pa.ArrowException, OSError, ValueError)


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """A row of the input: its number in the file and its cells, or why it cannot be read."""

    number: int
    cells: dict[str, Any]
    error: str | None = None


def read_shard(
    shard: Shard,
    mapping: ColumnMapping,
    options: dict[str, Any],
    *,
    sample: float | None,
    retry: RetryPolicy | None = None,
) -> Iterator[SourceRow]:
    """Every selected row of the shard, once, in order, as `read_shards` has them."""
    return read_shards([shard], mapping, options, sample=sample, retry=retry)


def read_shards(
    shards: Sequence[Shard],
    mapping: ColumnMapping,
    options: dict[str, Any],
    *,
    sample: float | None,
    retry: RetryPolicy | None = None,
) -> Iterator[SourceRow]:
    """Every selected row of shards of one row group, once, in order: `Shard.num_rows` of each.

    Rows from the first corrupt page on come with an error, because Parquet cannot be read past it.

    Raises:
        StorageError: the file cannot be read although its content may be fine.
        ChangedError: it is not the file that was planned, or became another meanwhile.
    """
    shard = shards[0]
    wanted = [row for one in shards for row in selected_rows(one.file, one.row_start, one.row_stop, sample)]
    done = 0
    try:
        file = RangeFile(shard.file, options, retry)
    except FileNotFoundError as error:
        raise ChangedError.of(shard.file) from error
    with file:
        _check_planned(file, shards, sample)
        try:
            for row in _stream(file, shard, mapping):
                if done < len(wanted) and row.number == wanted[done]:
                    done += 1
                    yield row
                if done == len(wanted):
                    return
            reason = "the row group ends before this row"
        except StorageError:
            raise
        except _ARROW_ERRORS as error:
            reason = f"corrupt Parquet data: {_first_line(error)}"
        file.check_unchanged()
    for number in wanted[done:]:
        yield SourceRow(number=number, cells={}, error=reason)


def _check_planned(file: RangeFile, shards: Sequence[Shard], sample: float | None) -> None:
    """A shard's id hashes the footer that was planned with: a rewritten file shows by its own."""
    try:
        sha256 = known_footer(file).sha256
    except ValueError as error:
        raise ChangedError.of(shards[0].file) from error
    for shard in shards:
        digest = shard_digest(shard.file, sha256, shard.row_group, shard.row_start, shard.row_stop, sample)
        if not shard.shard_id.endswith(f"-{digest}"):
            raise ChangedError.of(shard.file)


def _stream(file: RangeFile, shard: Shard, mapping: ColumnMapping) -> Iterator[SourceRow]:
    number = shard.row_group_start
    metadata = known_footer(file).metadata
    file.read_ahead_to(chunk_ends(metadata, shard.row_group))
    parquet = pq.ParquetFile(file, metadata=metadata, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    batches = parquet.iter_batches(
        batch_size=_BATCH_ROWS, row_groups=[shard.row_group], columns=mapping.columns(), use_threads=False
    )
    for batch in batches:
        skip = max(0, shard.row_start - number)
        if skip < batch.num_rows:
            for offset, cells in enumerate(iter_rows(batch.slice(skip), mapping)):
                yield SourceRow(number=number + skip + offset, cells=cells)
        number += batch.num_rows


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
