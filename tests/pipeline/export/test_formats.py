"""The files of an export: written, on a store as well, and an error of one is an error of the export."""

from __future__ import annotations

from pathlib import Path

import pytest

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.export.formats import Files
from litelvlm.pipeline.storage.store import Storage


def test_files_are_there_when_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, is_local in (("here", True), ("away", False)):
        storage = Storage(str(tmp_path / folder))
        with monkeypatch.context() as patch:
            patch.setattr(Storage, "local", is_local)
            files = Files(storage)
        with files:
            for number in range(100):
                files.write(f"a/{number}.txt", b"%d" % number)
        assert sorted(path.read_bytes() for path in (tmp_path / folder).rglob("*.txt")) == sorted(
            b"%d" % number for number in range(100)
        )


@pytest.mark.parametrize("count", [1, 100])
def test_what_a_store_refuses_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    def refuse(self: Storage, name: str, data: bytes) -> None:
        raise StorageError("full")

    monkeypatch.setattr(Storage, "local", property(lambda _: False))
    monkeypatch.setattr(Storage, "write_bytes", refuse)
    with pytest.raises(StorageError, match="full"):
        _write(Files(Storage(str(tmp_path))), count)


def _write(files: Files, count: int) -> None:
    with files:
        for number in range(count):
            files.write(str(number), b"")
