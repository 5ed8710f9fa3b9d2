"""Which images a run has, on disk: their final file names, and which of them are scattered over the input.

An image may be spread over rows that do not follow each other. Its COCO entry must hold all of its masks, so the
merge has to know, when it first meets the image, what comes later. Memory stays bounded because all of it lies in a
temporary SQLite file.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile

from litelvlm.pipeline.output.names import clash_key, split_extension, with_suffix


class ImageIndex:
    """Filled with the runs of records in input order, then asked. Use as a context manager."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="litelvlm-merge-")
        self._db = sqlite3.connect(os.path.join(self._directory.name, "images.sqlite"), isolation_level=None)
        self._db.executescript(
            """
            PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32000;
            CREATE TABLE images (key TEXT PRIMARY KEY, name TEXT NOT NULL, scattered INTEGER NOT NULL) WITHOUT ROWID;
            CREATE TABLE stems (stem TEXT PRIMARY KEY) WITHOUT ROWID;
            CREATE TABLE annotations (key TEXT NOT NULL, position INTEGER NOT NULL, content TEXT NOT NULL);
            CREATE INDEX annotations_by_key ON annotations (key, position);
            BEGIN;
            """
        )
        self._last_key: str | None = None
        self.num_images = 0
        self.num_scattered = 0

    def __enter__(self) -> ImageIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._directory.cleanup()

    def add_run(self, key: str, file_name: str) -> bool:
        """Note a run of adjacent records of one image. Returns whether the image is scattered, as far as is known."""
        if key == self._last_key:
            return self.is_scattered(key)
        self._last_key = key
        row = self._db.execute("SELECT scattered FROM images WHERE key = ?", (key,)).fetchone()
        if row is None:
            name = self._unique_name(file_name, key)
            self._db.execute("INSERT INTO images VALUES (?, ?, 0)", (key, name))
            self.num_images += 1
            return False
        if not row[0]:
            self._db.execute("UPDATE images SET scattered = 1 WHERE key = ?", (key,))
            self.num_scattered += 1
        return True

    def name(self, key: str) -> str | None:
        """Final file name of an image; None for one that was never decoded."""
        row = self._db.execute("SELECT name FROM images WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def is_scattered(self, key: str) -> bool:
        """Whether the image's records lie in more than one run."""
        row = self._db.execute("SELECT scattered FROM images WHERE key = ?", (key,)).fetchone()
        return bool(row and row[0])

    def put_aside(self, key: str, position: int, content: str) -> None:
        """Keep an annotation of a scattered image; `position` orders the annotations of the run."""
        self._db.execute("INSERT INTO annotations VALUES (?, ?, ?)", (key, position, content))

    def take(self, key: str) -> list[str]:
        """All annotations that were put aside for an image, in order."""
        rows = self._db.execute("SELECT content FROM annotations WHERE key = ? ORDER BY position", (key,))
        return [content for (content,) in rows]

    def _unique_name(self, file_name: str, key: str) -> str:
        """Tools key images by name without extension, so that is what must be unique."""
        name, number = file_name, 0
        while not self._claim(split_extension(name)[0]):
            number += 1
            name = with_suffix(file_name, f"~{key[:8]}" + (f"-{number}" if number > 1 else ""))
        return name

    def _claim(self, stem: str) -> bool:
        cursor = self._db.execute("INSERT OR IGNORE INTO stems VALUES (?)", (clash_key(stem),))
        return cursor.rowcount == 1
