"""Markers compacted into few objects as a run goes on, so that nobody has to read them one by one.

`_log/<writer>-<number>.parquet` holds a row for each marker that its writer, a driver, has seen committed. A log is an
extract and never more: what is done is decided by `_done` alone, and whoever reads a log holds it against the listing.
"""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable
from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.schemas import LOG_DIR
from litelvlm.pipeline.storage.parquet import read_parquet
from litelvlm.pipeline.storage.read_ahead import read_ahead
from litelvlm.pipeline.storage.store import Storage

_ROWS = 500
_SECONDS = 60.0
_CACHED = 64  # logs whose markers lie in memory at a time, half a megabyte each
_SCHEMA = pa.schema([pa.field("shard_id", pa.string()), pa.field("marker", pa.binary())])


class MarkerLog:
    """Writes logs.

    Args:
        storage: the output.
        clock: monotonic seconds.
    """

    def __init__(self, storage: Storage, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._storage, self._clock = storage, clock
        self._writer, self._number = uuid.uuid4().hex[:12], 0
        self._rows: dict[str, bytes] = {}
        self._since = clock()

    def add(self, shard_id: str, marker: bytes) -> None:
        """Note a committed marker's content. It is written with the next ones, within a minute while some come."""
        self._rows[shard_id] = marker
        if len(self._rows) >= _ROWS or self._clock() - self._since >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is not written yet."""
        if self._rows:
            buffer = io.BytesIO()
            table = pa.table([list(self._rows), list(self._rows.values())], schema=_SCHEMA)
            pq.write_table(table, buffer, compression="zstd")
            self._storage.write_bytes(f"{LOG_DIR}/{self._writer}-{self._number:06d}.parquet", buffer.getvalue())
            self._number += 1
            self._rows = {}
        self._since = self._clock()


class LoggedMarkers:
    """All logs of an output, as they are now: the content of a marker by its shard's id."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._names = [name for name in storage.list(LOG_DIR) if name.endswith(".parquet")]
        self._places: dict[str, tuple[int, int]] = {}
        for number, table in enumerate(read_ahead(lambda name: self._read(name, ["shard_id"]), self._names)):
            ids = table.column("shard_id").to_pylist()
            self._places.update((shard_id, (number, row)) for row, shard_id in enumerate(ids))
        self._markers = lru_cache(_CACHED)(lambda number: self._read(self._names[number], ["marker"]).column("marker"))

    def find(self, shard_id: str) -> bytes | None:
        """The content of a marker; None where no log has it."""
        place = self._places.get(shard_id)
        if place is None:
            return None
        content: bytes = self._markers(place[0])[place[1]].as_py()
        return content

    def _read(self, name: str, columns: list[str]) -> pa.Table:
        return read_parquet(self._storage.read_bytes(name), columns)
