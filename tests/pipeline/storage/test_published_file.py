"""A file appears as a whole or not at all, and no temporary one stays behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.storage.published_file import PublishedFile
from litelvlm.pipeline.storage.store import Storage


@pytest.fixture
def publishing(tmp_path: Path) -> Callable[[], PublishedFile]:
    temporary, final = tmp_path / "sub/x.tmp", tmp_path / "x"
    return lambda: PublishedFile(str(temporary), lambda: os.replace(temporary, final), "writing x")


def test_parquet_can_be_written_to_it(publishing: Callable[[], PublishedFile], tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2, 3]})
    with publishing() as stream:
        pq.write_table(table, stream)
        assert not (tmp_path / "x").exists()
        assert stream.tell() > 0
    assert stream.closed
    assert pq.read_table(tmp_path / "x") == table
    assert list((tmp_path / "sub").iterdir()) == []


def test_bytes_are_counted_whatever_holds_them(publishing: Callable[[], PublishedFile], tmp_path: Path) -> None:
    with publishing() as stream:
        assert stream.write(memoryview(b"abcd").cast("H")) == 4
        stream.writelines([b"e", bytearray(b"f")])
        assert stream.tell() == 6
    assert (tmp_path / "x").read_bytes() == b"abcdef"


def test_two_writers_of_one_temporary_name_are_told(publishing: Callable[[], PublishedFile]) -> None:
    first = publishing()
    with pytest.raises(StorageError, match="writing x: FileExistsError"):
        publishing()
    first.discard()


def test_publishing_happens_once(tmp_path: Path) -> None:
    published: list[int] = []
    stream = PublishedFile(str(tmp_path / "x.tmp"), lambda: published.append(1), "writing x")
    stream.close()
    stream.close()
    stream.discard()
    assert published == [1]
    assert stream.closed


def test_trouble_while_publishing_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    stream = PublishedFile(str(tmp_path / "x.tmp"), fail, "writing x")
    stream.write(b"1")
    with pytest.raises(StorageError, match=r"writing x: .*No space left"):
        stream.close()
    assert list(tmp_path.iterdir()) == []


def test_a_stream_publishes_only_when_it_is_closed(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    stream = storage.open_write("part")
    stream.write(b"half")
    assert not storage.exists("part")
    stream.close()
    assert storage.read_bytes("part") == b"half"


def test_a_stream_left_by_an_exception_publishes_nothing(tmp_path: Path) -> None:

    def write_half() -> None:
        with Storage(str(tmp_path)).open_write("part") as stream:
            stream.write(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_published_file_that_is_discarded_takes_what_its_writer_still_says(tmp_path: Path) -> None:
    stream = Storage(str(tmp_path)).open_write("part")
    stream.write(b"half")
    stream.discard()
    stream.write(b"the end of a format")
    stream.close()
    assert stream.tell() == len(b"half" + b"the end of a format")
    assert list(tmp_path.iterdir()) == []
