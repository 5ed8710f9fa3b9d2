"""A directory is claimed by what is made in it, again by the same, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from litelvlm.pipeline.storage.directory_claim import directory_claim
from litelvlm.pipeline.storage.store import Storage

NAME = "_thing.json"


def claim(path: Path, **facts: object) -> bytes:
    return directory_claim(Storage(str(path)), NAME, facts, given=f"{path}/a b", kind="thing")


def test_what_is_made_again_finds_its_own_claim(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(claim(tmp_path, run="r", worst=3))
    (tmp_path / "result").write_bytes(b"half")
    assert claim(tmp_path, run="r", worst=3) == (tmp_path / NAME).read_bytes()


@pytest.mark.parametrize("content", [b'{"run": "other"}', b"{", b"[]"])
def test_another_one_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(ValueError, match=r"^--output '.*/a b': holds another thing; choose another directory$"):
        claim(tmp_path, run="r")


def test_files_of_others_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"mine")
    with pytest.raises(ValueError, match="holds something else, such as precious; choose another directory"):
        claim(tmp_path, run="r")
    assert (tmp_path / "precious").read_bytes() == b"mine"
