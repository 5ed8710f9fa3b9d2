"""CSV, TSV and JSON lines: every cell of the first two is text, so that an id of `007` stays one."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.prepare.pieces import MappedFile, Notes, Options, SourceFile, text_of
from litelvlm.pipeline.prepare.rows import PreparedRow
from litelvlm.pipeline.storage.range_file import RangeFile
from litelvlm.pipeline.table.columns import ColumnMapping
from litelvlm.pipeline.table.rows import raw_row

_MAX_HEADER_CHARS = 1 << 20
_MAX_LINE_BYTES = 64 << 20
_LOOKED_AT = 100  # lines of JSON by which columns are told
_DELIMITERS = {"csv": ",", "tsv": "\t"}
csv.field_size_limit(_MAX_LINE_BYTES)  # of a field: images in base64 are longer than Python's 128 kB


@dataclass(frozen=True, kw_only=True)
class CsvPiece(MappedFile):
    """A file of comma- or tab-separated values, with a header."""

    kind: str

    def rows(self, notes: Notes) -> Iterator[PreparedRow]:
        """A row of the file each; fields that are missing are null. Raises ValueError where the file is none."""
        names = csv_names(self.kind, self.file, self.options)
        with RangeFile(self.file.path, self.options) as raw:
            reader = csv.reader(_text(raw, self.file.path), delimiter=_DELIMITERS[self.kind])
            next(reader)
            try:
                for fields in filter(None, reader):
                    if len(fields) != len(names):
                        where = f"{self.file.path}:{reader.line_num}"
                        notes.add(f"rows have other than {len(names)} fields; those that are missing are null", where)
                    cells = {name: field or None for name, field in zip(names, fields, strict=False)}
                    yield _row(cells, self.mapping)
            except (csv.Error, OSError, EOFError, zlib.error) as error:
                if isinstance(error, StorageError):
                    raise
                where = f"{self.file.path}:{reader.line_num}"
                raise ValueError(f"{where}: is no {self.kind.upper()} from here on: {str(error)[:200]}") from error


@dataclass(frozen=True, kw_only=True)
class JsonLinesPiece(MappedFile):
    """A file with a JSON object on every line."""

    def rows(self, notes: Notes) -> Iterator[PreparedRow]:
        """A row of every line that is not empty; one without an image for a line that is no object."""
        for number, line in json_lines(self.file, self.options):
            cells = _object(line)
            if cells is None:
                notes.add("lines are no JSON objects and become rows without an image", f"{self.file.path}:{number}")
            yield _row(cells or {}, self.mapping)


def csv_names(kind: str, file: SourceFile, options: Options) -> list[str]:
    """Names of the columns. Raises ValueError where there is no header of text."""
    with RangeFile(file.path, options) as raw:
        try:
            row = next(csv.reader(_text(raw, file.path), delimiter=_DELIMITERS[kind]), [])
        except (csv.Error, OSError, EOFError, zlib.error) as error:
            if isinstance(error, StorageError):
                raise
            row = []
    if not "".join(row).isprintable() or not any(row) or len("".join(row)) > _MAX_HEADER_CHARS:
        raise ValueError(f"{file.path}: its first line is no header of column names in UTF-8")
    return row


def json_schema(file: SourceFile, options: Options) -> pa.Schema:
    """Columns of a file of JSON lines, by its first ones. Raises ValueError where there is no object."""
    found: dict[str, pa.DataType] = {}
    for _, line in itertools.islice(json_lines(file, options), _LOOKED_AT):
        for name, value in (_object(line) or {}).items():
            try:
                kind = pa.scalar(value).type
            except (pa.ArrowException, ValueError, OverflowError):
                continue
            if name not in found or pa.types.is_null(found[name]):
                found[name] = kind
    if not found:
        raise ValueError(f"{file.path}: none of its first {_LOOKED_AT} lines is a JSON object")
    return pa.schema(found)


def json_lines(file: SourceFile, options: Options) -> Iterator[tuple[int, bytes | None]]:
    """Lines that are not empty, with their numbers from 1; None for one of more than 64 MiB."""
    with RangeFile(file.path, options) as raw:
        source = _unpacked(raw, file.path)
        number, kept, too_long = 1, b"", False
        while True:
            try:
                block = source.read(1 << 20)
            except (OSError, EOFError, zlib.error) as error:
                if isinstance(error, StorageError):
                    raise
                raise ValueError(f"{file.path}: {str(error)[:200]}") from error
            lines = (kept + block).split(b"\n") if block else [kept, b""]
            for line in lines[:-1]:
                if too_long or line.strip():
                    yield number, None if too_long else line
                number, too_long = number + 1, False
            kept = lines[-1]
            if len(kept) > _MAX_LINE_BYTES:
                kept, too_long = b"", True
            if not block:
                return


def _row(cells: dict[str, Any], mapping: ColumnMapping) -> PreparedRow:
    data, path, phrases = raw_row(cells, mapping)
    return PreparedRow(
        image_id=_id(cells.get(mapping.id)) if mapping.id else None,
        data=data,
        path=path,
        phrases=tuple(one for phrase in phrases for one in _listed(phrase)),
    )


def _id(cell: Any) -> str | None:
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return str(cell) if isinstance(cell, str | int | float) and cell == cell else None


def _listed(phrase: str | None) -> list[str | None]:
    """The phrases of a JSON list that stands in one cell, or the cell itself."""
    if phrase is None or not (phrase.startswith("[") and phrase.rstrip().endswith("]")):
        return [phrase]
    try:
        values = json.loads(phrase)
    except (ValueError, RecursionError):
        return [phrase]
    texts = [value for value in values if isinstance(value, str)]
    return list(texts) if len(texts) == len(values) else [phrase]


def _object(line: bytes | None) -> dict[str, Any] | None:
    try:
        value = json.loads(text_of(line) or "") if line is not None else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _unpacked(raw: RangeFile, path: str) -> Any:
    """A stream of bytes."""
    return gzip.GzipFile(fileobj=raw, mode="rb") if path.endswith(".gz") else raw


def _text(raw: RangeFile, path: str) -> Any:
    """Lines of text. What is not UTF-8 becomes lone surrogates, by which it is told later."""
    return io.TextIOWrapper(_unpacked(raw, path), encoding="utf-8-sig", errors="surrogateescape", newline="")
