"""Which images a run has: those whose names clash, and those that are scattered over the input.

An image may be spread over rows that do not follow each other. Its COCO entry must hold all of its masks, so the
merge has to know, when it first meets the image, what comes later. 16 bytes of memory for each run of records of one
image tell; only masks of scattered images are put aside, in a temporary SQLite file.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from litelvlm.pipeline.output.names import clash_key, split_extension, with_suffix

Hashes = NDArray[np.uint64]


def hashes_of(runs: Sequence[tuple[str, str]]) -> tuple[Hashes, Hashes]:
    """Keys and hashes of the names without extension, of runs (key, file name)."""
    keys = np.fromiter((int(key, 16) for key, _ in runs), np.uint64, len(runs))
    return keys, np.fromiter((_stem_hash(name) for _, name in runs), np.uint64, len(runs))


class ImageIndex:
    """Filled with the runs of records in input order, then asked. Use as a context manager."""

    def __init__(self) -> None:
        self._keys: list[Hashes] = []
        self._stems: list[Hashes] = []
        self._names: dict[str, str] = {}
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> ImageIndex:
        return self

    def __exit__(self, *_: object) -> None:
        if self._directory is not None:
            self._aside.close()
            self._directory.cleanup()

    def add(self, keys: Hashes, stems: Hashes) -> None:
        """Note the next runs, as `hashes_of` has them."""
        self._keys.append(keys)
        self._stems.append(stems)

    @cached_property
    def scattered(self) -> frozenset[str]:
        """Keys of the images whose records lie in more than one run. To be asked when all runs are there."""
        keys, _ = self._runs
        found, counts = np.unique(keys, return_counts=True)
        return frozenset(f"{key:016x}" for key in found[counts > 1].tolist())

    @cached_property
    def clashing(self) -> frozenset[int]:
        """Hashes of names, without extension, that several images have."""
        keys, stems = self._runs
        _, first = np.unique(keys, return_index=True)
        found, counts = np.unique(stems[first], return_counts=True)
        return frozenset(found[counts > 1].tolist())

    def rename(self, runs: Iterable[tuple[str, str]]) -> None:
        """Give images of clashing names others; `runs` are all runs (key, file name), or those that clash, in order.

        Tools key images by name without extension, so that is what must be unique. The first image keeps its name.
        """
        seen: set[str] = set()
        taken: set[int] = set()
        for key, file_name in runs:
            if key in seen or _stem_hash(file_name) not in self.clashing:
                continue
            seen.add(key)
            name, number = file_name, 0
            while (stem := _stem_hash(name)) in taken or (number and self._is_stem(stem)):
                number += 1
                name = with_suffix(file_name, f"~{key[:8]}" + (f"-{number}" if number > 1 else ""))
            taken.add(stem)
            if number:
                self._names[key] = name

    @property
    def renamed(self) -> dict[str, str]:
        """Key -> name of the images that could not keep theirs."""
        return self._names

    def put_aside(self, key: str, annotations: Iterable[bytes]) -> None:
        """Keep the next annotations of a scattered image."""
        self._aside.executemany("INSERT INTO annotations VALUES (?, ?)", ((key, content) for content in annotations))

    def take(self, key: str) -> list[bytes]:
        """All annotations that were put aside for an image, in order."""
        rows = self._aside.execute("SELECT content FROM annotations WHERE key = ? ORDER BY rowid", (key,))
        return [content for (content,) in rows]

    @cached_property
    def _runs(self) -> tuple[Hashes, Hashes]:
        """Keys and stems of all runs, adjacent ones of one image taken as one."""
        if not self._keys:
            return np.empty(0, np.uint64), np.empty(0, np.uint64)
        keys, stems = np.concatenate(self._keys), np.concatenate(self._stems)
        new = np.ones(len(keys), dtype=bool)
        new[1:] = keys[1:] != keys[:-1]
        return keys[new], stems[new]

    @cached_property
    def _sorted_stems(self) -> Hashes:
        return np.sort(self._runs[1])

    def _is_stem(self, stem: int) -> bool:
        at = int(np.searchsorted(self._sorted_stems, np.uint64(stem)))
        return at < len(self._sorted_stems) and int(self._sorted_stems[at]) == stem

    @cached_property
    def _aside(self) -> sqlite3.Connection:
        self._directory = tempfile.TemporaryDirectory(prefix="litelvlm-merge-")
        database = sqlite3.connect(os.path.join(self._directory.name, "aside.sqlite"), isolation_level=None)
        database.executescript(
            """
            PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32000;
            CREATE TABLE annotations (key TEXT NOT NULL, content BLOB NOT NULL);
            CREATE INDEX annotations_by_key ON annotations (key);
            BEGIN;
            """
        )
        return database


def _stem_hash(name: str) -> int:
    stem = clash_key(split_extension(name)[0])
    return int.from_bytes(hashlib.blake2b(stem.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
