"""Tables appear as a whole or not at all, and what failed leaves nothing behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.output.table_writer import ROWS_PER_GROUP, TableWriter, closing_or_discarding
from litelvlm.pipeline.schemas import ERROR_SCHEMA, RECORD_SCHEMA
from litelvlm.pipeline.storage.store import Storage

ROW = {
    "source_file": "in.parquet",
    "source_row": 1,
    "phrase_index": 0,
    "image_id": "a",
    "phrase": "a dog",
    "error": "not_found: there is none",
    "shard_id": "0000000-000000000000",
}


def test_rows_come_back_in_groups(tmp_path: Path) -> None:
    with closing_or_discarding(TableWriter(Storage(str(tmp_path)), "errors.parquet", ERROR_SCHEMA)) as writer:
        writer.add([ROW] * (ROWS_PER_GROUP + 1))
    metadata = pq.ParquetFile(tmp_path / "errors.parquet").metadata
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [ROWS_PER_GROUP, 1]


def write_and_fail(storage: Storage) -> None:
    with (
        closing_or_discarding(TableWriter(storage, "records.parquet", RECORD_SCHEMA)),
        closing_or_discarding(TableWriter(storage, "errors.parquet", ERROR_SCHEMA)) as writer,
    ):
        writer.add([ROW] * (ROWS_PER_GROUP + 1))
        raise RuntimeError("a shard is damaged")


def files_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def test_a_merge_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="damaged"):
        write_and_fail(Storage(str(tmp_path)))
    assert files_below(tmp_path) == []


def test_a_disk_that_is_full_at_the_end_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer = TableWriter(Storage(str(tmp_path)), "errors.parquet", ERROR_SCHEMA)
    writer.add([ROW])
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"writing errors\.parquet: .*No space left"):
        writer.close()
    assert files_below(tmp_path) == []
