"""Listing input files: patterns as a shell has them, and nothing left out without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.storage.listing import files_below, matching_data

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


def _matching(fs: Any, pattern: str) -> list[str]:
    """Files that match, data or not, of a pattern that matches no directory."""
    found, _ = matching_data(fs, pattern, "shown", lambda path, directory: True)
    return found


def test_all_files_below_a_directory(root: str) -> None:
    assert _relative(files_below(LocalFileSystem(), root, "shown"), root) == sorted(FILES)


def test_files_behind_links_are_found_and_circles_end(root: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/e.parquet").touch()
    Path(root, "linked").symlink_to(tmp_path / "elsewhere")
    Path(root, "linked.parquet").symlink_to(tmp_path / "elsewhere/e.parquet")
    Path(root, "sub/back").symlink_to(root)
    found = _relative(files_below(LocalFileSystem(), root, "shown"), root)
    assert found == sorted([*FILES, "linked/e.parquet", "linked.parquet"])
    assert _relative(_matching(LocalFileSystem(), f"{root}/link*/*.parquet"), root) == ["linked/e.parquet"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("days/*.parquet", ["days/1.parquet/part-0.parquet", "days/2.parquet/part-0.parquet"]),
        ("days/1.parquet/*", ["days/1.parquet/part-0.parquet"]),
        ("days/1.parquet/_*", ["days/1.parquet/_SUCCESS", "days/1.parquet/_metadata"]),
        ("da*", ["days/1.parquet/part-0.parquet", "days/2.parquet/part-0.parquet"]),
        ("**/1.parquet/*", ["days/1.parquet/part-0.parquet"]),
        ("days/?.parquet/*.crc", []),
    ],
)
def test_a_table_in_a_directory_is_its_parts(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    for name in ("part-0.parquet", ".part-0.parquet.crc", "_SUCCESS", "_metadata"):
        for day in (1, 2):
            path = tmp_path / f"days/{day}.parquet/{name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def is_data(path: str, directory: str) -> bool:
        name = path.removeprefix(f"{directory}/")
        return name.endswith(".parquet") and not name.startswith(("_", "."))

    _, data = matching_data(LocalFileSystem(), f"{tmp_path}/{pattern}", "shown", is_data)
    assert _relative(data, str(tmp_path)) == expected


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
    assert _relative(_matching(LocalFileSystem(), f"{root}/{pattern}"), root) == expected
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
    assert _relative(_matching(Locked(), f"{root}/*.parquet"), root) == ["[x].parquet", "a.parquet"]


def test_a_stores_listing_is_asked_for_anew(tmp_path: Path) -> None:
    fs = MemoryFileSystem()
    fs.pipe(f"/{tmp_path.name}/one/a", b"1")
    assert files_below(fs, f"/{tmp_path.name}", "shown") == [f"/{tmp_path.name}/one/a"]
    fs.pipe(f"/{tmp_path.name}/b", b"2")
    assert files_below(fs, f"/{tmp_path.name}", "shown") == [f"/{tmp_path.name}/b", f"/{tmp_path.name}/one/a"]
