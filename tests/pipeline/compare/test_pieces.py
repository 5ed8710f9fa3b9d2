"""Records by their places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from litelvlm.pipeline.compare.pieces import RecordPieces
from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.output.table_writer import TableWriter
from litelvlm.pipeline.storage.store import Storage

COUNT = 23_000


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Two files of three row groups each."""
    found = Storage(str(tmp_path))
    for part, (low, high) in enumerate(((0, 11_000), (11_000, COUNT))):
        writer = TableWriter(found, f"records/part-{part:05d}.parquet", pa.schema({"x": pa.int64(), "y": pa.int64()}))
        writer.add_table(pa.table({"x": range(low, high), "y": range(low, high)}))
        writer.close()
    return found


def test_they_come_in_the_order_asked_for(storage: Storage) -> None:
    pieces = RecordPieces(storage, ["x"])
    assert len(pieces) == COUNT
    assert [value for table in pieces.tables() for value in table.column("x").to_pylist()] == list(range(COUNT))
    places = np.random.default_rng(0).permutation(COUNT)[:500]
    table = pieces.take(places)
    assert table.column_names == ["x"]
    assert table.column("x").to_pylist() == places.tolist()
    assert pieces.take(np.empty(0, np.int64)).num_rows == 0
    pieces.close()


def test_few_row_groups_are_kept(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litelvlm.pipeline.compare.pieces._KEPT", 2)
    pieces = RecordPieces(storage, ["x"])
    read, kept = pieces._read, []

    def counted(piece: int) -> pa.Table:
        kept.append(len(pieces._kept))
        return read(piece)

    monkeypatch.setattr(pieces, "_read", counted)
    for low in range(0, COUNT, 1_000):  # in order: every row group once
        pieces.take(np.arange(low, min(low + 1_000, COUNT)))
    assert len(kept) == 6
    assert max(kept) <= 2


def test_a_damaged_file_is_named(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "records/part-00001.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"records/part-00001\.parquet is damaged"):
        RecordPieces(storage, ["x"])


def test_a_run_without_a_record_has_none(tmp_path: Path) -> None:
    pieces = RecordPieces(Storage(str(tmp_path)), ["record"])
    assert len(pieces) == len(list(pieces.tables())) == 0
