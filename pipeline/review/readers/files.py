"""Files, folders and zip archives as documents in memory. Nothing is ever unpacked to a disk, and no name is a path."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.review.readers.documents import fault, shown
from litelvlm.pipeline.storage.filesystems import filesystem_for, look_up
from litelvlm.pipeline.storage.listing import sizes_below
from litelvlm.pipeline.storage.range_file import RangeFile

MAX_FILE_BYTES = 1 << 30  # of a document, and of all documents of an archive together
MAX_MEMBERS = 200_000
ENDINGS = (".json", ".xml", ".jsonl")
_ZIP_START = (b"PK\x03\x04", b"PK\x05\x06")
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(ValueError, OSError, EOFError, RuntimeError, OverflowError, IndexError),
)


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file of a kind that is read, wherever it lies.

    `place` names it in messages, `name` is its path within its folder or archive. `siblings` are the names of all that
    are there, `sibling` reads one of them.
    """

    name: str
    place: str
    load: Callable[[], bytes] = field(repr=False)
    siblings: frozenset[str] = frozenset()
    sibling: Callable[[str], bytes] = field(repr=False, default=lambda name: b"")


def documents(path: str, options: Mapping[str, Any]) -> Iterator[Document]:
    """The documents of a file, of a folder and all below it, or of a zip archive, in the order of their names.

    Raises:
        ValueError: nothing is there, a file is too large, or an archive is damaged, encrypted or a bomb.
        StorageError: a store does not answer.
    """
    fs, bare = filesystem_for(path, options)
    try:
        if look_up(fs, bare, f"looking for {path}")["type"] == "file":
            yield from _of_file(path, options)
            return
        names = sorted(name for name in sizes_below(fs, bare, path) if _is_read(name, (*ENDINGS, ".zip")))
    except FileNotFoundError:
        raise fault(path, "nothing is there") from None
    root = bare.rstrip("/") + "/"
    inside = {name.removeprefix(root): fs.unstrip_protocol(name) if "://" in path else name for name in names}
    siblings = frozenset(inside)

    def read(name: str) -> bytes:
        return _whole(inside[name], options)

    for name, full in inside.items():
        if name.lower().endswith(".zip"):
            yield from _of_file(full, options)
        else:
            yield Document(name=name, place=full, load=_reader(read, name), siblings=siblings, sibling=read)


def _of_file(path: str, options: Mapping[str, Any]) -> Iterator[Document]:
    with _opened(path, options) as raw:
        start = raw.read(4)
    if start in _ZIP_START or path.lower().endswith(".zip"):
        yield from _of_zip(path, options)
    else:
        yield Document(name=path.rpartition("/")[2], place=path, load=lambda: _whole(path, options))


def _of_zip(path: str, options: Mapping[str, Any]) -> Iterator[Document]:
    with _opened(path, options) as raw:
        try:
            archive = zipfile.ZipFile(raw)
        except StorageError:
            raise
        except _DAMAGED as error:
            raise fault(path, f"is no zip archive, or a damaged one: {str(error)[:200]}") from None
        with archive:
            yield from _Archive(path, archive).documents()


@dataclass
class _Archive:
    path: str
    archive: zipfile.ZipFile
    left: int = MAX_FILE_BYTES

    def documents(self) -> Iterator[Document]:
        infos = self.archive.infolist()
        if len(infos) > MAX_MEMBERS:
            raise fault(self.path, f"has {len(infos)} members, the limit is {MAX_MEMBERS}")
        members = {info.filename: info for info in infos if _is_read(info.filename, ENDINGS)}

        def read(name: str) -> bytes:
            return self.read(members[name])

        for name in sorted(members):
            place = f"{self.path}:{shown(name)}"
            yield Document(name=name, place=place, load=_reader(read, name), siblings=frozenset(members), sibling=read)

    def read(self, info: zipfile.ZipInfo) -> bytes:
        """A member, of no more bytes than are left of the archive's share, whatever its header says."""
        place = f"{self.path}:{shown(info.filename)}"
        try:
            with self.archive.open(info) as stream:
                data = stream.read(self.left + 1)
        except StorageError:
            raise
        except _DAMAGED as error:
            raise fault(place, f"is damaged or encrypted: {str(error)[:200]}") from None
        if len(data) > self.left:
            raise fault(place, f"the archive's documents are larger than {MAX_FILE_BYTES >> 20} MiB together")
        self.left -= len(data)
        return data


def _is_read(name: str, endings: tuple[str, ...]) -> bool:
    """By its ending, but for what macOS puts beside every file."""
    return name.lower().endswith(endings) and not name.rpartition("/")[2].startswith("._")


def _reader(read: Callable[[str], bytes], name: str) -> Callable[[], bytes]:
    return lambda: read(name)


def _whole(path: str, options: Mapping[str, Any]) -> bytes:
    with _opened(path, options) as raw:
        data = raw.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise fault(path, f"is larger than {MAX_FILE_BYTES >> 20} MiB; export fewer images at a time")
    return data


def _opened(path: str, options: Mapping[str, Any]) -> BinaryIO:
    try:
        return cast(BinaryIO, io.BufferedReader(RangeFile(path, dict(options))))
    except FileNotFoundError:
        raise fault(path, "nothing is there") from None
