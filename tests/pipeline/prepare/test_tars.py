"""Tars: records by name, nothing unpacked, nothing trusted."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from litelvlm.pipeline.prepare import tars
from litelvlm.pipeline.prepare.pieces import Notes, SourceFile
from litelvlm.pipeline.prepare.rows import PreparedRow
from litelvlm.pipeline.prepare.tars import TarPiece
from tests.pipeline.prepare.collections import add


def rows_of(path: Path) -> tuple[list[PreparedRow], list[str]]:
    notes = Notes()
    piece = TarPiece(file=SourceFile(path=str(path), size=path.stat().st_size), options={})
    return list(piece.rows(notes)), notes.lines()


def test_files_of_one_name_are_one_record(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        add(tar, "a/0001.jpg", b"one")
        add(tar, "a/0001.txt", b"first\n\n second ")
        add(tar, "a/0001.cls", b"7")
        add(tar, "b/0001.seg.png", b"two")
        add(tar, "b/0001.json", json.dumps({"captions": ["x", 5, "y"]}).encode())
        add(tar, "c.json", b'"alone"')
        add(tar, "d.caption", b"d")
        add(tar, "d.JPEG", b"four")
        add(tar, "e.json", b"{no json")
    rows, notes = rows_of(tmp_path / "x.tar")
    assert [(row.image_id, row.data, row.path, row.phrases) for row in rows] == [
        ("a/0001", b"one", "a/0001.jpg", ("first", "second")),
        ("b/0001", b"two", "b/0001.seg.png", ("x", "y")),
        ("c", None, None, ("alone",)),
        ("d", b"four", "d.jpeg", ("d",)),
        ("e", None, None, ()),
    ]
    assert notes == []


def test_hostile_members_are_left_out_or_only_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "_MAX_TEXT_BYTES", 1_000)
    before = sorted(path.name for path in tmp_path.parent.iterdir())
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        add(tar, "../../evil.png", b"up")
        add(tar, "/etc/evil.png", b"root")
        for kind, name in ((tarfile.SYMTYPE, "link.png"), (tarfile.LNKTYPE, "hard.png"), (tarfile.CHRTYPE, "dev.png")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        add(tar, "big.txt", b"x" * 1_001)
        add(tar, "two.jpg", b"1")
        add(tar, "two.png", b"2")
    rows, notes = rows_of(tmp_path / "x.tar")
    assert [(row.image_id, row.data) for row in rows] == [
        ("../../evil", b"up"),
        ("etc/evil", b"root"),
        ("big", None),
        ("two", b"1"),
    ]
    assert [note.split(",")[0] for note in notes] == [
        "3 members of tars are links or devices",
        "1 members of tars are too large",
        "1 records of tars have several images; the first is taken",
    ]
    assert sorted(path.name for path in tmp_path.parent.iterdir()) == before, "nothing was unpacked"


@pytest.mark.parametrize("cut", [100, 600, 1_100])
def test_a_tar_that_ends_early_is_told(tmp_path: Path, cut: int) -> None:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        add(tar, "a.jpg", b"x" * 2_000)
    (tmp_path / "x.tar").write_bytes(whole.getvalue()[:cut])
    with pytest.raises(ValueError, match=r"x\.tar: is no tar file, or a damaged one"):
        rows_of(tmp_path / "x.tar")


def test_what_is_no_tar_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(ValueError, match="is no tar file"):
        rows_of(tmp_path / "x.tar")
