"""The records of a run, finished or not, in the order of the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.schemas import RECORD_SCHEMA, RECORDS_DIR, SHARD_SCHEMA, SUCCESS_NAME
from litelvlm.pipeline.shards.claim import SavedRun, claimed_run
from litelvlm.pipeline.shards.markers import ShardMarker, committed, read_data
from litelvlm.pipeline.storage.store import Storage


class RunRecords:
    """Records of what is done by now. Read as often as needed: the same tables in the same order.

    Of a finished run they are those of `records/`, else those of the shards that are committed when this is made.

    Raises:
        ValueError: there is no run, or none that this version can read.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.saved: SavedRun = claimed_run(storage)
        self.is_finished = storage.exists(SUCCESS_NAME)
        self._parts: list[str] = []
        self._markers: list[ShardMarker] = []
        if self.is_finished:
            self._parts = [name for name in storage.list(RECORDS_DIR) if name.endswith(".parquet")]
        else:
            self._markers = list(committed(storage, ShardMarker))

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns of `RECORD_SCHEMA`, a few thousand rows or a shard's at a time.

        Raises:
            DataError: a file is damaged.
        """
        for _, read in self._pieces(list(columns)):
            yield read()

    def take(self, rows: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Some columns of some records by their places, ascending, among all. What holds none of them is not read.

        Raises:
            DataError: as `tables`.
        """
        found, start = [RECORD_SCHEMA.empty_table().select(list(columns))], 0
        for size, read in self._pieces(list(columns)):
            inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + size)]
            if len(inside):
                found.append(read().take(pa.array(inside - start)))
            start += size
        return pa.concat_tables(found)

    def _pieces(self, columns: list[str]) -> Iterator[tuple[int, Callable[[], pa.Table]]]:
        """Number of rows of every piece, and what reads it."""
        for parquet in self._opened():
            for group in range(parquet.num_row_groups):
                size = parquet.metadata.row_group(group).num_rows
                yield size, partial(_read_group, parquet, group, columns)
        for marker in self._markers:
            yield marker.records, partial(self._read_shard, marker, columns)

    def _read_shard(self, marker: ShardMarker, columns: list[str]) -> pa.Table:
        return read_data(self.storage, marker, pa.schema([SHARD_SCHEMA.field(name) for name in columns]))

    def _opened(self) -> Iterator[pq.ParquetFile]:
        for name in self._parts:
            try:
                with self.storage.open_read(name) as stream:
                    yield pq.ParquetFile(stream)
            except (pa.ArrowException, FileNotFoundError) as error:
                raise DataError(f"{name} is damaged: {error}") from error


def _read_group(parquet: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
    return parquet.read_row_group(group, columns=columns, use_threads=False).select(columns)
