"""WebDataset tars: files of one name but for their endings are one record. Nothing is ever unpacked to a disk."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from litelvlm.pipeline.prepare.pieces import Notes, Options, SourceFile, text_of
from litelvlm.pipeline.prepare.rows import PreparedRow
from litelvlm.pipeline.storage.range_file import RangeFile
from litelvlm.pipeline.table.columns import PHRASE_NAMES
from litelvlm.pipeline.table.kinds import IMAGE_ENDINGS

_MAX_IMAGE_BYTES = 256 << 20
_MAX_TEXT_BYTES = 16 << 20
_TEXTS = ("txt", "text", "caption")
_PHRASE_KEYS = [name for group in PHRASE_NAMES for name in group]


@dataclass
class _Record:
    key: str
    data: bytes | None = None
    name: str | None = None
    phrases: list[str | None] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class TarPiece:
    """A tar file."""

    file: SourceFile
    options: Options

    @property
    def identity(self) -> str:
        return self.file.identity

    def rows(self, notes: Notes) -> Iterator[PreparedRow]:
        """A record each, with its image's bytes. Raises ValueError where the file is no tar, or ends early."""
        with RangeFile(self.file.path, self.options) as raw:
            try:
                with tarfile.open(fileobj=raw, mode="r|", errorlevel=2) as tar:
                    yield from self._records(tar, notes)
            except tarfile.TarError as error:
                raise ValueError(f"{self.file.path}: is no tar file, or a damaged one: {str(error)[:200]}") from error

    def _records(self, tar: tarfile.TarFile, notes: Notes) -> Iterator[PreparedRow]:
        record: _Record | None = None
        for member in tar:
            place = f"{self.file.path}:{member.name[:200]}"
            if member.isdir():
                continue
            if not member.isreg():
                notes.add("members of tars are links or devices, and are left out", place)
                continue
            key, ending = _split(member.name)
            if record is not None and record.key != key:
                yield _row(record)
                record = None
            record = record or _Record(key)
            self._take(record, tar, member, ending, notes, place)
        if record is not None:
            yield _row(record)

    def _take(
        self, record: _Record, tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str, notes: Notes, place: str
    ) -> None:
        is_image = f".{ending.rpartition('.')[2]}" in IMAGE_ENDINGS
        if not is_image and ending not in (*_TEXTS, "json"):
            return
        if member.size > (_MAX_IMAGE_BYTES if is_image else _MAX_TEXT_BYTES) or member.sparse is not None:
            notes.add("members of tars are too large, and are left out", place)
            return
        stream = tar.extractfile(member)  # a stream over the archive: nothing is written
        data = stream.read() if stream is not None else b""
        if is_image:
            if record.data is not None:
                notes.add("records of tars have several images; the first is taken", place)
            else:
                record.data, record.name = data, f"{record.key}.{ending}"
        elif ending == "json":
            record.phrases += _phrases_of(data)
        else:
            record.phrases += [line.strip() for line in (text_of(data) or "").splitlines() if line.strip()]


def _split(name: str) -> tuple[str, str]:
    """A record's key and the ending, which begins at the first dot of the last part, as WebDataset has it."""
    folder, _, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return f"{folder}/{stem}".lstrip("/"), ending.lower()


def _phrases_of(data: bytes) -> list[str | None]:
    try:
        value: Any = json.loads(text_of(data) or "")
    except (ValueError, RecursionError):
        return []
    if isinstance(value, dict):
        value = next((value[name] for name in _PHRASE_KEYS if name in value), None)
    items = value if isinstance(value, list) else [value]
    return [one for one in items if isinstance(one, str)]


def _row(record: _Record) -> PreparedRow:
    return PreparedRow(image_id=record.key, data=record.data, path=record.name, phrases=tuple(record.phrases))
