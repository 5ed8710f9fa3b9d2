"""Records that a report shows beside the best and the worst: whole images, empty answers, failures.

One more pass over the records, a row group at a time: names and statuses of all, the rest of the few that are shown.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from litelvlm.pipeline.report import words
from litelvlm.pipeline.schemas import STATUS_EMPTY, STATUS_FAILED
from litelvlm.pipeline.storage.store import Storage

MAX_ANSWERS = 24  # of an image that are shown
_KINDS = 1_024  # of phrases and reasons that are told apart
_NAME = ("file_name", "image_id")
_COLUMNS = (
    *_NAME, "phrase", "status", "error", "score", "height", "width", "mask_rle", "source_file", "source_row",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RecordExample:
    """A record to be shown; `size_hw` is None where its image could not be decoded."""

    file_name: str
    image_id: str
    phrase: str
    status: str
    error: str | None
    score: float | None
    size_hw: tuple[int, int] | None
    mask_rle: str | None
    source_file: str
    source_row: int


@dataclass(kw_only=True)
class WholeImage:
    """An image with all that was asked of it, `MAX_ANSWERS` at most; `num_answers` are all."""

    answers: list[RecordExample] = field(default_factory=list)
    num_answers: int = 0


@dataclass(kw_only=True)
class Examples:
    """What is shown: whole images in the order asked for, empty answers and failures of different kinds."""

    images: list[WholeImage] = field(default_factory=list)
    empty: list[RecordExample] = field(default_factory=list)
    failed: list[RecordExample] = field(default_factory=list)


def find_examples(storage: Storage, names: Sequence[str], images: Iterable[tuple[str, str]], *, shown: int) -> Examples:
    """Stream the records in these files. `images` are (file name, id) of the images that are shown whole; of empty
    answers to different phrases and of failures for different reasons the first in the input, `shown` of each."""
    whole = {image: WholeImage() for image in images}
    empty, failed = _Various("phrase", shown), _Various("error", shown)
    for name in names:
        with storage.open_read(name) as stream:
            parquet = pq.ParquetFile(stream)
            for group in range(parquet.metadata.num_row_groups):
                heads = parquet.read_row_group(group, columns=[*_NAME, "status", "phrase", "error"], use_threads=False)
                rows = _rows_of(heads, whole)
                wanted = {*rows, *empty.add(heads, STATUS_EMPTY), *failed.add(heads, STATUS_FAILED)}
                if not wanted:
                    continue
                places = sorted(wanted)
                table = parquet.read_row_group(group, columns=list(_COLUMNS), use_threads=False).take(places)
                found = dict(zip(places, map(_example, table.to_pylist()), strict=True))
                for row in rows:
                    image = whole[found[row].file_name, found[row].image_id]
                    image.num_answers += 1
                    if len(image.answers) < MAX_ANSWERS:
                        image.answers.append(found[row])
                empty.keep(found)
                failed.keep(found)
    return Examples(images=list(whole.values()), empty=empty.examples, failed=failed.examples)


class _Various:
    """The first records of a status, one of each kind before a second of any; kinds go by a column."""

    def __init__(self, column: str, size: int) -> None:
        self._column, self._size = column, size
        self._seen: dict[int, int] = defaultdict(int)
        self._chosen: list[tuple[int, int, RecordExample]] = []  # how many of its kind came before, its place, itself
        self._new: list[tuple[int, int]] = []  # the former, row
        self._passed = 0

    def add(self, table: pa.Table, status: str) -> list[int]:
        """Look at the next records. Returns the rows of those that may be shown, which `keep` then wants."""
        rows = np.flatnonzero(pc.equal(table.column("status"), status).to_numpy())
        self._new = []
        for row, text in zip(rows.tolist(), table.column(self._column).take(rows).to_pylist(), strict=True):
            kind = zlib.crc32(words.pattern(text or "").encode(errors="replace")) % _KINDS
            if self._seen[kind] < self._size:
                self._new.append((self._seen[kind], row))
                self._seen[kind] += 1
        self._new = sorted(self._new)[: self._size]
        return [row for _, row in self._new]

    def keep(self, found: dict[int, RecordExample]) -> None:
        """Take what `add` has named."""
        self._chosen += [(before, self._passed + at, found[row]) for at, (before, row) in enumerate(self._new)]
        self._passed += len(self._new)
        self._chosen = sorted(self._chosen, key=lambda one: one[:2])[: self._size]

    @property
    def examples(self) -> list[RecordExample]:
        """What is left."""
        return [one for _, _, one in self._chosen]


def _rows_of(table: pa.Table, images: dict[tuple[str, str], WholeImage]) -> list[int]:
    names = pa.array([name for name, _ in images], pa.string())
    rows: NDArray[np.int64] = np.flatnonzero(pc.is_in(table.column("file_name"), value_set=names).to_numpy())
    ids = table.column("image_id").take(rows).to_pylist()
    files = table.column("file_name").take(rows).to_pylist()
    return [row for row, *image in zip(rows.tolist(), files, ids, strict=True) if tuple(image) in images]


def _example(record: dict[str, Any]) -> RecordExample:
    height, width = record.pop("height"), record.pop("width")
    return RecordExample(size_hw=None if height is None else (height, width), **record)
