"""Listing input files: a directory that cannot be listed is an error.

fsspec's own `glob`, `walk` and `isfile` take it for an empty one, and its rows would be missing without a word.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from litelvlm.pipeline.storage.retries import with_retries

_WILDCARDS = re.compile(r"[*?\[]")


def files_below(fs: fsspec.AbstractFileSystem, directory: str, shown: str) -> list[str]:
    """Sorted paths of all files below a directory, behind links too. `shown` names it in messages.

    Raises:
        StorageError, FileNotFoundError: it cannot be listed, or something in it.
    """
    return sorted(sizes_below(fs, directory, shown))


def sizes_below(fs: fsspec.AbstractFileSystem, directory: str, shown: str) -> dict[str, int]:
    """The same with their sizes in bytes, in no order."""
    if not isinstance(fs, LocalFileSystem):
        found = _listed(lambda: fs.find(directory, detail=True), fs, shown)
        return {name: int(facts.get("size") or 0) for name, facts in found.items() if facts["type"] != "directory"}
    return {name: size for name, is_directory, size in _walk(fs, directory, shown) if not is_directory}


def matching_data(
    fs: fsspec.AbstractFileSystem, pattern: str, shown: str, is_data: Callable[[str, str], bool]
) -> tuple[list[str], list[str]]:
    """Sorted paths of the files that a pattern with `*`, `**`, `?` or `[]` stands for, and of the data among them.

    A file below a directory that matches is data if `is_data` says so of its path and the directory. One that matches
    itself is, unless its name begins with `.` or `_` where the pattern leaves that open.
    """
    first = _WILDCARDS.search(pattern)
    assert first is not None, "a pattern has a wildcard"
    root = pattern[: first.start()].rpartition("/")[0]
    rest = pattern[len(root) :].strip("/")
    matcher = re.compile(glob_translate(pattern))
    try:
        if "**" in rest:
            names = files_below(fs, root or "/", shown)
        else:
            names = _names_to_depth(fs, root or "/", shown, rest.count("/") + 1, matcher)
    except FileNotFoundError:
        return [], []
    found: list[str] = []
    data: list[str] = []
    for name in names:
        directory = None if matcher.match(name) else _matching_directory(name, root, matcher)
        if directory is not None or matcher.match(name):
            found.append(name)
            below = directory is None or is_data(name, directory)
            if below and not _is_hidden(directory or name, pattern):
                data.append(name)
    return found, data


def _names_to_depth(
    fs: fsspec.AbstractFileSystem, root: str, shown: str, depth: int, matcher: re.Pattern[str]
) -> list[str]:
    """Files at most so many levels down, and all files below the directories there that match."""
    names = set[str]()
    for name, is_directory, _ in _walk(fs, root, shown, depth):
        if not is_directory:
            names.add(name)
        elif matcher.match(name):
            names.update(files_below(fs, name, shown))
    return sorted(names)


def _walk(
    fs: fsspec.AbstractFileSystem, directory: str, shown: str, depth: int | None = None
) -> Iterator[tuple[str, bool, int]]:
    """Paths below a directory, at most `depth` levels down, whether they are directories, and their sizes."""
    pending = [(directory, 1)]
    seen = set[str]()
    while pending:
        current, level = pending.pop()
        real = os.path.realpath(current) if isinstance(fs, LocalFileSystem) else current
        if real in seen:  # a link that leads back
            continue
        seen.add(real)
        for entry in _listed(partial(fs.ls, current, detail=True), fs, shown):
            name = entry["name"].rstrip("/")
            is_directory = entry["type"] == "directory" or (isinstance(fs, LocalFileSystem) and os.path.isdir(name))
            if name != current.rstrip("/"):
                yield name, is_directory, int(entry.get("size") or 0)
                if is_directory and (depth is None or level < depth):
                    pending.append((name, level + 1))


def _is_hidden(name: str, pattern: str) -> bool:
    """Whether a name begins with `.` or `_`, and the pattern does not ask for that."""
    last = name.rpartition("/")[2]
    return last.startswith((".", "_")) and not pattern.rpartition("/")[2].startswith(last[0])


def _matching_directory(name: str, root: str, matcher: re.Pattern[str]) -> str | None:
    """The directory above a file, and below the pattern's root, that matches."""
    directory = name.rpartition("/")[0]
    while len(directory) > len(root):
        if matcher.match(directory):
            return directory
        directory = directory.rpartition("/")[0]
    return None


def _listed(action: Any, fs: fsspec.AbstractFileSystem, shown: str) -> Any:
    def fresh() -> Any:
        fs.invalidate_cache()
        return action()

    return with_retries(fresh, f"listing {shown}")
