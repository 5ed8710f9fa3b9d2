"""The records of a run image by image, wherever an image's rows lie."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from litelvlm.pipeline.output.names import with_suffix
from litelvlm.pipeline.review.edits import Row
from litelvlm.pipeline.review.run_records import RunRecords

_KEY = ("file_name", "image_id")


def image_groups(records: RunRecords, columns: Sequence[str]) -> Iterator[list[Row]]:
    """The records of each image, in the order in which images are first met.

    Records of images whose rows do not follow each other lie in memory until they are met. In a run that is not
    finished several images may have one name: the later get others here.

    Raises:
        DataError: the run is damaged.
    """
    columns = list(dict.fromkeys([*_KEY, *columns]))
    scattered = _scattered(records, columns)
    names = None if records.is_finished else _Names()
    group: list[Row] = []
    for table in records.tables(columns):
        for row in table.to_pylist():
            if group and _key(row) != _key(group[0]):
                yield from _whole(group, scattered, names)
                group = []
            group.append(row)
    if group:
        yield from _whole(group, scattered, names)


def _whole(group: list[Row], scattered: dict[bytes, list[Row] | None], names: _Names | None) -> Iterator[list[Row]]:
    """The group with what lies elsewhere; nothing where it was met before."""
    key = _key(group[0])
    if key in scattered:
        found, scattered[key] = scattered[key], None
        if found is None:
            return
        group = found
    if names is not None:
        names.rename(group)
    yield group


def _scattered(records: RunRecords, columns: list[str]) -> dict[bytes, list[Row] | None]:
    """All records of the images that lie in several places, by image."""
    hashes: list[NDArray[np.uint64]] = []
    for table in records.tables(_KEY):
        hashes.append(_hashes(table))
    every = np.concatenate([*hashes, np.empty(0, np.uint64)])
    new = np.ones(len(every), bool)
    new[1:] = every[1:] != every[:-1]
    found, counts = np.unique(every[new], return_counts=True)
    places = np.flatnonzero(np.isin(every, found[counts > 1]))
    gathered: dict[bytes, list[Row] | None] = defaultdict(list)
    if len(places):
        for row in records.take(places, columns).to_pylist():
            gathered[_key(row)].append(row)  # type: ignore[union-attr]
    return dict(gathered)


def _hashes(table: pa.Table) -> NDArray[np.uint64]:
    """A hash of each row's image; that of the row before is taken again where it is the same."""
    found: list[int] = []
    last: tuple[str, str] | None = None
    for pair in zip(*(table.column(name).to_pylist() for name in _KEY), strict=True):
        found.append(found[-1] if pair == last else int.from_bytes(_digest(*pair), "big"))
        last = pair
    return np.array(found, np.uint64)


def _key(row: Row) -> bytes:
    return _digest(row["file_name"], row["image_id"])


def _digest(file_name: str, image_id: str) -> bytes:
    return hashlib.blake2b(f"{len(file_name)} {file_name}{image_id}".encode(), digest_size=8).digest()


class _Names:
    """Names of images, each given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def rename(self, group: list[Row]) -> None:
        name = given = group[0]["file_name"]
        number = 0
        while name in self._taken:
            number += 1
            name = with_suffix(given, f"~{_key(group[0]).hex()[:8]}" + (f"-{number}" if number > 1 else ""))
        self._taken.add(name)
        for row in group:
            row["file_name"] = name
