"""The records of a run, finished or not, in the order of the input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.schemas import RECORDS_DIR, SUCCESS_NAME
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
        if self.is_finished:
            yield from self._of_parts(list(columns))
        for marker in self._markers:
            yield read_data(self.storage, marker).select(list(columns))

    def _of_parts(self, columns: list[str]) -> Iterator[pa.Table]:
        for name in self._parts:
            try:
                with self.storage.open_read(name) as stream:
                    parquet = pq.ParquetFile(stream)
                    for group in range(parquet.num_row_groups):
                        yield parquet.read_row_group(group, columns=columns, use_threads=False).select(columns)
            except (pa.ArrowException, FileNotFoundError) as error:
                raise DataError(f"{name} is damaged: {error}") from error
