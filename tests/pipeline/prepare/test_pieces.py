"""What pieces have in common."""

from __future__ import annotations

import pyarrow as pa

from litelvlm.pipeline.prepare.pieces import Notes, SourceFile, completed, text_of
from litelvlm.pipeline.table.columns import ColumnMapping


def test_notes_count_and_keep_the_first_place() -> None:
    one, other = Notes(), Notes()
    one.add("lines are odd", "a:1")
    one.add("lines are odd", "a:2")
    other.add("lines are odd", "b:1")
    other.add("files are empty", "c")
    one.merge(other.found)
    assert one.lines() == ["1 files are empty, the first in c", "3 lines are odd, the first in a:1"]
    assert Notes().lines() == []


def test_text_is_utf8_with_or_without_a_mark() -> None:
    assert text_of("ü".encode("utf-8-sig")) == text_of("ü".encode()) == "ü"
    assert text_of(b"\xff\xfe") is None


def test_a_batch_gets_the_columns_that_it_lacks() -> None:
    mapping = ColumnMapping(image="image", phrase="p", id=None, image_kind="bytes")
    batch = completed(pa.record_batch({"image": [b"x", b"y"]}), mapping)
    assert batch.to_pydict() == {"image": [b"x", b"y"], "p": [None, None]}
    assert completed(batch, mapping) is batch


def test_a_file_is_another_one_with_another_size() -> None:
    assert SourceFile(path="a", size=1).identity != SourceFile(path="a", size=2).identity
