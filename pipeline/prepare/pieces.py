"""What every kind of source is cut into, and what its pieces read with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from litelvlm.pipeline.prepare.rows import PreparedRow
from litelvlm.pipeline.table.columns import ColumnMapping
from litelvlm.pipeline.table.kinds import Kind

Options = dict[str, Any]


class Piece(Protocol):
    """A part of a source that one task reads. Picklable."""

    @property
    def identity(self) -> str:
        """What it is read from: another text where something else would be read."""
        ...

    def rows(self, notes: Notes) -> Iterator[PreparedRow]:
        """Its rows, in order. What could not be read as it should is told to `notes`, and is a row nevertheless."""
        ...


@dataclass
class Notes:
    """What was found wrong on the way: words, how often, and where first."""

    found: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, words: str, where: str) -> None:
        """Count one more."""
        count, first = self.found.get(words, (0, where))
        self.found[words] = count + 1, first

    def merge(self, other: dict[str, tuple[int, str]]) -> None:
        """Add those of another."""
        for words, (count, where) in other.items():
            before, first = self.found.get(words, (0, where))
            self.found[words] = before + count, first

    def lines(self) -> list[str]:
        """A line each."""
        return [f"{count} {words}, the first in {where}" for words, (count, where) in sorted(self.found.items())]


@dataclass(frozen=True, kw_only=True)
class Source:
    """An input, cut into pieces.

    Attributes:
        kind: what it is.
        describe: a line of what was found.
        image_root: what the relative paths of its images start from; None where there are none.
        has_masks: whether its rows have true masks.
    """

    kind: Kind
    pieces: Sequence[Piece]
    describe: str
    image_root: str | None = None
    has_masks: bool = False


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file of an input, its size in bytes, and of a table with a log the version that is read."""

    path: str
    size: int
    version: str = ""

    @property
    def identity(self) -> str:
        return f"{self.path}:{self.size}" + (f":{self.version}" if self.version else "")


@dataclass(frozen=True, kw_only=True)
class MappedFile:
    """A file of a table with columns: what its pieces have in common."""

    file: SourceFile
    mapping: ColumnMapping
    options: Options

    @property
    def identity(self) -> str:
        return f"{self.file.identity}:{self.mapping.describe()}"


def text_of(data: bytes) -> str | None:
    """Text in UTF-8, with or without a byte order mark; None for anything else."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def completed(batch: pa.RecordBatch, mapping: ColumnMapping) -> pa.RecordBatch:
    """A batch with a column of nulls for each mapped one that it lacks: that of phrases, where `--phrases` has them."""
    for name in mapping.columns():
        if name not in batch.schema.names:
            batch = batch.append_column(name, pa.nulls(batch.num_rows))
    return batch
