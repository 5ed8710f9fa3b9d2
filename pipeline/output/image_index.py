"""Which images a run has: those whose names clash, and those that are scattered over the input.

An image may be spread over rows that do not follow each other. Its COCO entry must hold all of its masks, so the
merge has to know, when it first meets the image, what comes later. 16 bytes of memory for each run of records of one
image tell; only masks of scattered images are put aside, in a temporary SQLite file.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterable
from functools import cached_property

from litelvlm.pipeline.output.unique_names import UniqueNames, whole_name


class ImageIndex(UniqueNames):
    """Filled with the runs of records in input order, then asked. Use as a context manager.

    Images keep the names that they have where they lie: only those of equal names get others.
    """

    def __init__(self) -> None:
        super().__init__(whole_name)
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> ImageIndex:
        return self

    def __exit__(self, *_: object) -> None:
        if self._directory is not None:
            self._aside.close()
            self._directory.cleanup()

    def put_aside(self, key: str, annotations: Iterable[bytes]) -> None:
        """Keep the next annotations of a scattered image."""
        self._aside.executemany("INSERT INTO annotations VALUES (?, ?)", ((key, content) for content in annotations))

    def take(self, key: str) -> list[bytes]:
        """All annotations that were put aside for an image, in order."""
        rows = self._aside.execute("SELECT content FROM annotations WHERE key = ? ORDER BY rowid", (key,))
        return [content for (content,) in rows]

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
