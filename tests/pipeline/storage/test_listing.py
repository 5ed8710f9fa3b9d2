"""Listing input files: patterns as a shell has them, and nothing left out without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.storage.listing import files_below, matching_files

FILES = ("a.parquet", "b.txt", "sub/c.parquet", "sub/deep/d.parquet", "[x].parquet")


@pytest.fixture
def root(tmp_path: Path) -> str:
    for name in FILES:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return str(tmp_path / "data")


def _relative(found: list[str], root: str) -> list[str]:
    return [path.removeprefix(f"{root}/") for path in found]


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (None, sorted(FILES)),
        (1, ["[x].parquet", "a.parquet", "b.txt"]),
        (2, sorted(set(FILES) - {"sub/deep/d.parquet"})),
    ],
)
def test_files_below_a_directory_down_to_a_depth(root: str, depth: int | None, expected: list[str]) -> None:
    assert _relative(files_below(LocalFileSystem(), root, "shown", depth=depth), root) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.parquet", ["[x].parquet", "a.parquet"]),
        ("?.txt", ["b.txt"]),
        ("*/*.parquet", ["sub/c.parquet"]),
        ("**/*.parquet", ["[x].parquet", "a.parquet", "sub/c.parquet", "sub/deep/d.parquet"]),
        ("[ab].*", ["a.parquet", "b.txt"]),
        ("nothing*", []),
        ("gone/*.parquet", []),
    ],
)
def test_patterns_match_as_in_a_shell(root: str, pattern: str, expected: list[str]) -> None:
    assert _relative(matching_files(LocalFileSystem(), f"{root}/{pattern}", "shown"), root) == expected
    if pattern != "**/*.parquet":  # pathlib's idea of it is another
        assert sorted(str(path.relative_to(root)) for path in Path(root).glob(pattern)) == expected


def test_a_directory_that_is_not_there_is_no_empty_one(root: str) -> None:
    with pytest.raises(FileNotFoundError):
        files_below(LocalFileSystem(), f"{root}/gone", "shown")


def test_one_directory_that_cannot_be_listed_stops_it_all(root: str) -> None:
    class Locked(LocalFileSystem):  # type: ignore[misc]
        cachable = False

        def ls(self, path: str, detail: bool = False, **kwargs: Any) -> list[Any]:
            if path.endswith("/deep"):
                raise PermissionError(13, "locked", path)
            return super().ls(path, detail=detail, **kwargs)

    with pytest.raises(StorageError, match="listing shown: permission denied"):
        files_below(Locked(), root, "shown")
    assert _relative(matching_files(Locked(), f"{root}/*.parquet", "shown"), root) == ["[x].parquet", "a.parquet"]


def test_a_stores_listing_is_asked_for_anew(tmp_path: Path) -> None:
    fs = MemoryFileSystem()
    fs.pipe(f"/{tmp_path.name}/one/a", b"1")
    assert files_below(fs, f"/{tmp_path.name}", "shown") == [f"/{tmp_path.name}/one/a"]
    fs.pipe(f"/{tmp_path.name}/b", b"2")
    assert files_below(fs, f"/{tmp_path.name}", "shown") == [f"/{tmp_path.name}/b", f"/{tmp_path.name}/one/a"]
