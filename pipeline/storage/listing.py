"""Listing input files: a directory that cannot be listed is an error.

fsspec's own `glob`, `walk` and `isfile` take it for an empty one, and its rows would be missing without a word.
"""

from __future__ import annotations

import re
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from litelvlm.pipeline.storage.retries import with_retries

_WILDCARDS = re.compile(r"[*?\[]")


def files_below(fs: fsspec.AbstractFileSystem, directory: str, shown: str, *, depth: int | None = None) -> list[str]:
    """Sorted paths of all files below a directory, at most `depth` levels down. `shown` names it in messages.

    Raises:
        StorageError, FileNotFoundError: it cannot be listed, or something in it.
    """
    if depth is None and not isinstance(fs, LocalFileSystem):
        return sorted(_listed(lambda: fs.find(directory), fs, shown))
    found: list[str] = []
    pending = [(directory, 1)]
    while pending:
        current, level = pending.pop()
        for entry in _entries(fs, current, shown):
            name = entry["name"].rstrip("/")
            if entry["type"] != "directory":
                found.append(name)
            elif name != current.rstrip("/") and (depth is None or level < depth):
                pending.append((name, level + 1))
    return sorted(found)


def matching_files(fs: fsspec.AbstractFileSystem, pattern: str, shown: str) -> list[str]:
    """Sorted paths of the files that a pattern with `*`, `**`, `?` or `[]` stands for; none where nothing is there."""
    first = _WILDCARDS.search(pattern)
    assert first is not None, "a pattern has a wildcard"
    root = pattern[: first.start()].rpartition("/")[0]
    rest = pattern[len(root) :].strip("/")
    depth = None if "**" in rest else rest.count("/") + 1
    try:
        names = files_below(fs, root or "/", shown, depth=depth)
    except FileNotFoundError:
        return []
    matcher = re.compile(glob_translate(pattern))
    return [name for name in names if matcher.match(name)]


def _entries(fs: fsspec.AbstractFileSystem, directory: str, shown: str) -> list[dict[str, Any]]:
    return _listed(lambda: fs.ls(directory, detail=True), fs, shown)


def _listed(action: Any, fs: fsspec.AbstractFileSystem, shown: str) -> Any:
    def fresh() -> Any:
        fs.invalidate_cache()
        return action()

    return with_retries(fresh, f"listing {shown}")
