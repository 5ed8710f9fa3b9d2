"""Records of a finished run by their places, in any order, a row group of a few thousand at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.report.records import record_parts
from litelvlm.pipeline.storage.store import Storage

_KEPT = 8  # row groups in memory


class RecordPieces:
    """Some columns of all records of a run. The row groups that were read last are kept.

    Raises:
        DataError: a file is damaged.
    """

    def __init__(self, storage: Storage, columns: Sequence[str]) -> None:
        self.storage, self._columns = storage, list(columns)
        self._groups: list[tuple[str, int]] = []  # file and row group of every piece
        sizes = [0]
        for name in record_parts(storage):
            with _opened(storage, name) as parquet:
                for group in range(parquet.num_row_groups):
                    self._groups.append((name, group))
                    sizes.append(parquet.metadata.row_group(group).num_rows)
        self._starts = np.cumsum(sizes)
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()
        self._open: tuple[str, pq.ParquetFile] | None = None

    def __len__(self) -> int:
        """Number of records."""
        return int(self._starts[-1])

    def tables(self) -> Iterator[pa.Table]:
        """All of them in the order of the input."""
        for piece in range(len(self._groups)):
            yield self._read(piece)

    def take(self, places: NDArray[np.int64]) -> pa.Table:
        """The records at N places, in the order of the places. What holds none of them is not read."""
        pieces = np.searchsorted(self._starts, places, side="right") - 1
        order = np.argsort(pieces, kind="stable")
        found = []
        for piece in np.unique(pieces):
            own = places[order][pieces[order] == piece]
            found.append(self._piece(int(piece)).take(pa.array(own - self._starts[piece])))
        if not found:
            return self._read(0).slice(0, 0) if self._groups else pa.table({})
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return pa.concat_tables(found).take(pa.array(back))

    def close(self) -> None:
        """Let go of the file that was read last."""
        if self._open is not None:
            self._open[1].close(force=True)
            self._open = None

    def _piece(self, piece: int) -> pa.Table:
        if piece not in self._kept:
            self._kept[piece] = self._read(piece)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(piece)
        return self._kept[piece]

    def _read(self, piece: int) -> pa.Table:
        name, group = self._groups[piece]
        if self._open is None or self._open[0] != name:
            self.close()
            self._open = name, _opened(self.storage, name)
        try:
            table = self._open[1].read_row_group(group, columns=self._columns, use_threads=False)
        except pa.ArrowException as error:
            raise DataError(f"{name} is damaged: {error}") from error
        return table.select(self._columns)


def _opened(storage: Storage, name: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(storage.open_read(name), pre_buffer=False)
    except (pa.ArrowException, FileNotFoundError) as error:
        raise DataError(f"{name} is damaged: {error}") from error
