"""Names that several images have, found in 16 bytes of memory an image, and others in their place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from litelvlm.pipeline.output.names import clash_key, split_extension, with_suffix

Hashes = NDArray[np.uint64]
#: What of a name must be unique, as a hash.
Sameness = Callable[[str], int]


def whole_name(name: str) -> int:
    """Names are the same if they are equal."""
    return _hash(name)


def without_extension(name: str) -> int:
    """Names are the same if some tool takes them for one: without extension, in any case, however accents are
    composed."""
    return _hash(clash_key(split_extension(name)[0]))


class UniqueNames:
    """Filled with the runs of records in input order, then asked."""

    def __init__(self, sameness: Sameness) -> None:
        self._sameness = sameness
        self._keys: list[Hashes] = []
        self._hashes: list[Hashes] = []
        self.renamed: dict[str, str] = {}  # key -> name of the images that cannot keep theirs

    def add(self, keys: Hashes, hashes: Hashes) -> None:
        """Note the next runs, as `hashes_of` has them."""
        self._keys.append(keys)
        self._hashes.append(hashes)

    @cached_property
    def scattered(self) -> frozenset[str]:
        """Keys of the images whose records lie in more than one run. To be asked when all runs are there."""
        keys, _ = self._runs
        found, counts = np.unique(keys, return_counts=True)
        return frozenset(f"{key:016x}" for key in found[counts > 1].tolist())

    @cached_property
    def clashing(self) -> frozenset[int]:
        """Hashes of names that several images have."""
        keys, hashes = self._runs
        _, first = np.unique(keys, return_index=True)
        found, counts = np.unique(hashes[first], return_counts=True)
        return frozenset(found[counts > 1].tolist())

    def rename(self, runs: Iterable[tuple[str, str]]) -> None:
        """Give images of clashing names others; `runs` are all runs (key, file name), or those that clash, in order.

        The first image keeps its name.
        """
        seen: set[str] = set()
        taken: set[int] = set()
        for key, file_name in runs:
            if key in seen or self._sameness(file_name) not in self.clashing:
                continue
            seen.add(key)
            name, number = file_name, 0
            while (found := self._sameness(name)) in taken or (number and self._is_there(found)):
                number += 1
                name = with_suffix(file_name, f"~{key[:8]}" + (f"-{number}" if number > 1 else ""))
            taken.add(found)
            if number:
                self.renamed[key] = name

    @cached_property
    def _runs(self) -> tuple[Hashes, Hashes]:
        """Keys and hashes of all runs, adjacent ones of one image taken as one."""
        if not self._keys:
            return np.empty(0, np.uint64), np.empty(0, np.uint64)
        keys, hashes = np.concatenate(self._keys), np.concatenate(self._hashes)
        new = np.ones(len(keys), dtype=bool)
        new[1:] = keys[1:] != keys[:-1]
        return keys[new], hashes[new]

    @cached_property
    def _sorted_hashes(self) -> Hashes:
        return np.sort(self._runs[1])

    def _is_there(self, found: int) -> bool:
        at = int(np.searchsorted(self._sorted_hashes, np.uint64(found)))
        return at < len(self._sorted_hashes) and int(self._sorted_hashes[at]) == found


def hashes_of(runs: Sequence[tuple[str, str]], sameness: Sameness) -> tuple[Hashes, Hashes]:
    """Keys and hashes of the names of runs (key, file name). A key is 16 hexadecimal digits."""
    keys = np.fromiter((int(key, 16) for key, _ in runs), np.uint64, len(runs))
    return keys, np.fromiter((sameness(name) for _, name in runs), np.uint64, len(runs))


def name_key(name: str) -> str:
    """A key for an image of which nothing but its unique name is known."""
    return f"{_hash(name):016x}"


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
