"""A seekable file over byte ranges of an object, each of them fetched with retries.

What reads Parquet through it can tell a broken store from broken content: the first is a StorageError.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.storage.faults import StoreFault, classify
from litelvlm.pipeline.storage.filesystems import filesystem_for, look_up
from litelvlm.pipeline.storage.retries import RetryPolicy, with_retries

# Columns of a row group lie apart and are read in turns: several blocks, so that they do not push each other out.
_BLOCK_BYTES, _MAX_BLOCKS = 4 << 20, 16
_IDENTITY = ("size", "ETag", "etag", "mtime", "generation")  # what stores know a version of a file by


class ChangedError(StorageError):
    """A file is not what it was when the run was planned."""

    @classmethod
    def of(cls, path: str) -> ChangedError:
        """The error that names the file and what to do."""
        return cls(
            f"{path} has changed since the run was planned: records of both contents would be mixed. "
            "Put the old file back, or start over with --overwrite"
        )


class RangeFile(io.RawIOBase):
    """Read-only; holds at most `_MAX_BLOCKS` blocks, whatever is read.

    A block begins where somebody reads and ends after `_BLOCK_BYTES`, or where `read_ahead_to` says: fsspec's caches
    know no such ends, and would fetch much that nobody reads.

    Raises FileNotFoundError where there is no such file when it is opened, later on StorageError, and ChangedError when
    the file ends earlier than it did at first.
    """

    def __init__(self, path: str, options: dict[str, Any], retry: RetryPolicy | None = None) -> None:
        super().__init__()
        self.path = path
        self._retry = retry or RetryPolicy.from_environment()
        self._fs, self._bare = filesystem_for(path, options)
        self._facts = self._look_up()
        if self._facts.get("size") is None or self._facts.get("type") == "directory":
            raise FileNotFoundError(f"{path} is no file with a size")
        self.size = int(self._facts["size"])
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._ends: list[int] = []

    @property
    def identity(self) -> tuple[Any, ...] | None:
        """Equal for equal content under one path, as far as the store tells versions apart; None where it does not."""
        facts = tuple(self._facts.get(fact) for fact in (*_IDENTITY, "ino"))
        return (self.path, *facts) if any(fact is not None for fact in facts[1:-1]) else None

    def read_ahead_to(self, ends: Iterable[int]) -> None:
        """No block crosses these places: what lies behind them is read by others, or by nobody."""
        self._ends = sorted(ends)

    def check_unchanged(self) -> None:
        """Raises ChangedError when the store's facts about the file are others than when it was opened."""
        self._compare(self._look_up())

    def _compare(self, now: dict[str, Any]) -> None:
        if any(now.get(fact) != self._facts.get(fact) for fact in _IDENTITY):
            raise ChangedError.of(self.path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if origin + offset < 0:
            raise ValueError(f"seek: before the start of {self.path}")
        self._position = origin + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        stop = self.size if size is None or size < 0 else min(self.size, self._position + size)
        parts = []
        while self._position < stop:
            first, block = self._block_at(self._position)
            parts.append(block[self._position - first : stop - first])
            self._position += len(parts[-1])
        return b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _block_at(self, position: int) -> tuple[int, bytes]:
        """A block that holds a place of the file, and where it begins."""
        for first, block in reversed(self._blocks.items()):
            if first <= position < first + len(block):
                self._blocks.move_to_end(first)
                return first, block
        later = bisect_right(self._ends, position)
        end = self._ends[later] if later < len(self._ends) else self.size
        block = self._blocks[position] = self._fetch(position, min(end, self.size, position + _BLOCK_BYTES))
        if len(self._blocks) > _MAX_BLOCKS:
            self._blocks.popitem(last=False)
        return position, block

    def _look_up(self) -> dict[str, Any]:
        return look_up(self._fs, self._bare, f"looking for {self.path}", self._retry)

    def _fetch(self, start: int, stop: int) -> bytes:
        try:
            return with_retries(lambda: self._get(start, min(stop, self.size)), f"reading {self.path}", self._retry)
        except FileNotFoundError as error:
            raise ChangedError.of(self.path) from error

    def _get(self, start: int, stop: int) -> bytes:
        try:
            data = self._fs.cat_file(self._bare, start=start, end=stop)
        except Exception as error:
            if classify(error) is StoreFault.EMPTY_RANGE:
                raise ChangedError.of(self.path) from error
            raise
        if len(data) != stop - start:
            self._compare(self._fs.info(self._bare))
            raise ConnectionError(f"the answer ends after {len(data)} of {stop - start} bytes")  # another may be whole
        return data
