"""Documents of files, folders and archives."""

from __future__ import annotations

from pathlib import Path

import pytest

from litelvlm.pipeline.review.readers import files
from litelvlm.pipeline.review.readers.files import documents
from tests.pipeline.review.readers.written import zipped


def test_a_file_is_one_document_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (one,) = documents(str(tmp_path / "a"), {})
    assert (one.name, one.place, one.load(), one.siblings) == ("a", str(tmp_path / "a"), b"x", frozenset())


def test_folders_and_archives_know_what_lies_beside(tmp_path: Path) -> None:
    members = {"b/task.json": b"1", "a.xml": b"2", "photo.png": b"3", "__MACOSX/._a.xml": b"4"}
    (tmp_path / "x.zip").write_bytes(zipped(members))
    for name, data in members.items():
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_bytes(data)
    for path in ("x", "x.zip"):
        found = list(documents(str(tmp_path / path), {}))
        assert [one.name for one in found] == ["a.xml", "b/task.json"]
        assert found[0].siblings == {"a.xml", "b/task.json"}
    for one in documents(str(tmp_path / "x.zip"), {}):
        assert one.sibling("b/task.json") == b"1"
        assert one.load() in (b"1", b"2")


def test_archives_have_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_MEMBERS", 2)
    (tmp_path / "x.zip").write_bytes(zipped({f"{n}.txt": b"" for n in range(3)}))
    with pytest.raises(ValueError, match="3 members"):
        list(documents(str(tmp_path / "x.zip"), {}))
