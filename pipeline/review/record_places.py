"""Where records are, by their keys, of millions of records in some bytes each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def key_hash(record: str) -> int:
    """64 bits that stand for a record's key where millions lie in memory."""
    return int.from_bytes(hashlib.blake2b(record.encode(), digest_size=8).digest(), "big")


class RecordPlaces:
    """Places of records, from 0 in the order in which their keys are given. 16 bytes a record.

    `keys` are columns of keys, distinct over all of them.
    """

    def __init__(self, keys: Iterable[pa.ChunkedArray]) -> None:
        hashes = np.concatenate([np.empty(0, np.uint64), *map(_hashes, keys)])
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, keys: pa.ChunkedArray) -> NDArray[np.int64]:
        """The place of each of N keys, (N,) int64, -1 where there is none."""
        wanted = _hashes(keys)
        if not len(self):
            return np.full(len(wanted), -1, np.int64)
        at = np.minimum(np.searchsorted(self._hashes, wanted), len(self) - 1)
        return np.where(self._hashes[at] == wanted, self._order[at], -1)


def _hashes(keys: pa.ChunkedArray) -> NDArray[np.uint64]:
    return np.fromiter(map(key_hash, keys.to_pylist()), np.uint64, len(keys))
