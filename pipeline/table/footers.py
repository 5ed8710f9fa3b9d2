"""From `--input` to Parquet files and their footers. Nothing but footers is read here."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import struct
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.storage.filesystems import filesystem_for, is_local, local_path, look_up, protocol_of
from litelvlm.pipeline.storage.listing import files_below, matching_data, sizes_below
from litelvlm.pipeline.storage.range_file import RangeFile
from litelvlm.pipeline.table.kinds import NAMES, PARQUET_ENDINGS, kind_of

_GLOB_CHARACTERS = "*?["
_LOGGED_TABLES = (  # what tells it in a path, its name, a way out
    (
        re.compile(r"/_delta_log/[^/]+\.json$"),
        "a Delta",
        "Make a table of its rows with: python jobs/prepare.py --input … --output TABLE",
    ),
    (re.compile(r"/\.hoodie/"), "a Hudi", "Write its rows out as plain Parquet, for example with Spark"),
    (
        re.compile(r"/metadata/[^/]*\.metadata\.json$"),
        "an Iceberg",
        "Make a table of its rows with: python jobs/prepare.py --input … --output TABLE",
    ),
)
_MAGIC = b"PAR1"
_TAIL_BYTES = 8  # the footer's length and the magic
_FIRST_BYTES = 64 << 10  # of the end of a file, read at first: most footers lie in them
_KNOWN_FOOTERS = 4
_FOOTER_THREADS = 16
_MEASURED_GROUPS = 16
_MAX_ROWS_PER_BYTE = 64  # more cannot hold images: the footer lies


@dataclass(frozen=True)
class ColumnSize:
    """Values of a column, those in lists one by one, and its bytes before compression."""

    num_values: int
    num_bytes: int


@dataclass(frozen=True)
class ColumnSizes:
    """Sizes of top-level columns over some row groups of a file, which have so many rows."""

    num_rows: int
    columns: dict[str, ColumnSize]


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """One Parquet file, as its footer describes it.

    `footer_sha256` stands for the content: the footer holds the sizes, offsets and statistics of every column chunk.
    """

    path: str
    size: int
    footer_sha256: str
    row_group_rows: tuple[int, ...]
    schema: pa.Schema
    measured: ColumnSizes | None = None

    @property
    def num_rows(self) -> int:
        """Rows in all row groups."""
        return sum(self.row_group_rows)

    def facts(self) -> dict[str, Any]:
        """What identifies the file in a run's fingerprint."""
        return {"path": self.path, "size": self.size, "footer_sha256": self.footer_sha256, "rows": self.num_rows}


def list_files(inputs: tuple[str, ...], options: dict[str, Any], *, output: str) -> list[str]:
    """Paths of all Parquet files that the inputs name, sorted, each once.

    A path that is there is taken as it is, whatever characters it holds; else `*`, `?` and `[]` make it a pattern. A
    directory, given or matched, stands for every `*.parquet` below it. Names that begin with `.` or `_` are not data,
    unless they are given in full; nor is the run's own output.

    Raises:
        ValueError: a path does not exist, nothing matches, or it is a table whose log says which of its files count.
        StorageError: a store does not answer, or refuses. No file is left out for that.
    """
    found: set[str] = set()
    for given in inputs:
        found.update(_expand(given, options, output=output))
    if not found:
        raise ValueError(f"--input {' '.join(inputs)}: no Parquet file there")
    return sorted(found)


def read_footers(paths: list[str], options: dict[str, Any]) -> list[InputFile]:
    """Footers of all files, in the order given. Raises ValueError naming a file that is not readable Parquet."""
    with ThreadPoolExecutor(min(_FOOTER_THREADS, len(paths))) as pool:
        return list(pool.map(lambda path: _read_footer(path, options), paths))


@dataclass(frozen=True)
class Footer:
    """What a Parquet file says of itself, and the SHA-256 (hex) of the bytes that say it."""

    sha256: str
    metadata: pq.FileMetaData


_footers: OrderedDict[tuple[Any, ...], Footer] = OrderedDict()


def known_footer(file: RangeFile) -> Footer:
    """The footer of a file, read and parsed once in this process as long as the store tells that it is the same file.

    Raises ValueError where it has none.
    """
    identity = file.identity
    footer = _footers.get(identity) if identity else None
    if footer is None:
        data = footer_of(cast(BinaryIO, file))
        footer = Footer(hashlib.sha256(data).hexdigest(), parquet_metadata(data))
    if identity:
        _footers[identity] = footer
        _footers.move_to_end(identity)
        if len(_footers) > _KNOWN_FOOTERS:
            _footers.popitem(last=False)
    return footer


def chunk_ends(metadata: pq.FileMetaData, row_group: int) -> list[int]:
    """Where the columns of a row group end in the file, in bytes."""
    group = metadata.row_group(row_group)
    return [_chunk_end(group.column(number)) for number in range(group.num_columns)]


def _chunk_end(chunk: pq.ColumnChunkMetaData) -> int:
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    return int(start + chunk.total_compressed_size)


def footer_of(file: BinaryIO) -> bytes:
    """The footer of a Parquet file. Raises ValueError where it has none."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _FIRST_BYTES, 0))
    end = file.read(_FIRST_BYTES)
    if size < 12 or end[-4:] != _MAGIC:
        raise ValueError("it does not end as a Parquet file does")
    length = struct.unpack("<I", end[-_TAIL_BYTES:-4])[0]
    if length + 12 > size:
        raise ValueError("its footer claims to be longer than the file")
    start = size - _TAIL_BYTES - length
    missing = size - len(end) - start
    if missing > 0:
        file.seek(start)
        return file.read(missing) + end[:-_TAIL_BYTES]
    return end[-missing:-_TAIL_BYTES]


def parquet_metadata(footer: bytes) -> pq.FileMetaData:
    """A footer as Parquet defines it, for `pq.ParquetFile(..., metadata=...)`.

    Arrow keeps a schema of its own in it, which may name extension types: classes that other packages registered, which
    run on whatever the file says. Under another key it is not looked for.
    """
    plain = footer.replace(b"ARROW:schema", b"ARROW-schema")
    # The footer alone, as a file: whatever else Arrow wants to read is not there, nor is it needed.
    return pq.read_metadata(pa.BufferReader(_MAGIC + plain + struct.pack("<I", len(plain)) + _MAGIC))


def shard_digest(
    path: str, footer_sha256: str, row_group: int, row_start: int, row_stop: int, sample: float | None
) -> str:
    """What a shard is made of, in 12 hex digits: the end of its id."""
    identity = f"{path}\0{footer_sha256}\0{row_group}\0{row_start}\0{row_stop}\0{sample}"
    return hashlib.sha256(identity.encode()).hexdigest()[:12]


def _expand(given: str, options: dict[str, Any], *, output: str) -> list[str]:
    fs, bare = filesystem_for(given, options)
    bare = os.path.abspath(bare) if is_local(given) else bare.rstrip("/")
    own = local_path(output) if is_local(output) else output.rstrip("/")
    try:
        if look_up(fs, bare, f"looking for {given}")["type"] == "file":
            _refuse_other_kinds(given, [bare])
            return [_full(given, bare)]
        names = files_below(fs, bare, given)
        kept = [path for path in names if _is_data(path, bare)]
        there = "no such path" if not names else "no *.parquet file in it"
    except FileNotFoundError:
        if not _is_pattern(bare):
            raise ValueError(f"--input {given}: no such path") from None
        names, kept = matching_data(fs, bare, given, _is_data)
        there = "nothing matches" if not names else "what matches are no data files"
    _refuse_logged(given, names)
    if not kept:
        _refuse_other_kinds(given, names)
        raise ValueError(f"--input {given}: {there}")
    full = [_full(given, path) for path in kept]
    return [path for path in full if not path.startswith(f"{own}/")]


def all_files(given: str, options: dict[str, Any], *, output: str) -> tuple[str, dict[str, int]]:
    """What an input names, in full, and all files of whatever kind that it stands for, with their sizes in bytes.

    The rules are those of `list_files`. Raises ValueError where nothing is there.
    """
    fs, bare = filesystem_for(given, options)
    bare = os.path.abspath(bare) if is_local(given) else bare.rstrip("/")
    own = local_path(output) if is_local(output) else output.rstrip("/")
    try:
        facts = look_up(fs, bare, f"looking for {given}")
        if facts["type"] == "file":
            return _full(given, bare), {_full(given, bare): int(facts.get("size") or 0)}
        sizes = sizes_below(fs, bare, given)
    except FileNotFoundError:
        names, _ = matching_data(fs, bare, given, lambda path, directory: True) if _is_pattern(bare) else ([], [])
        sizes = {name: int(look_up(fs, name, f"looking for {name}").get("size") or 0) for name in names}
        bare = bare[: min(map(bare.find, filter(bare.__contains__, _GLOB_CHARACTERS)), default=None)]
        bare = bare if not names else bare.rpartition("/")[0]
    found = {_full(given, name): size for name, size in sizes.items()}
    found = {name: size for name, size in found.items() if not name.startswith(f"{own}/")}
    if not found:
        raise ValueError(f"--input {given}: nothing there")
    return _full(given, bare), found


def _is_pattern(path: str) -> bool:
    return any(character in path for character in _GLOB_CHARACTERS)


def _is_data(path: str, directory: str) -> bool:
    """Whether a file below a directory is one of its table."""
    parts = path.removeprefix(directory).strip("/").split("/")
    return path.endswith(PARQUET_ENDINGS) and not any(part.startswith((".", "_")) for part in parts)


def _refuse_logged(given: str, names: list[str]) -> None:
    """Of a table with a log, files that were replaced still lie there: read as they are, rows would come twice."""
    for sign, what, how in _LOGGED_TABLES:
        if any(map(sign.search, names)):
            raise ValueError(f"--input {given}: this is {what} table: its log says which of its files count. {how}")
    claims = {name.rpartition("/")[0] for name in names if name.endswith("/_prepare.json")}
    if unfinished := sorted(claims - {name.rpartition("/")[0] for name in names if name.endswith("/_SUCCESS")}):
        raise ValueError(f"--input {given}: the table in {unfinished[0]} is not finished; run its prepare job again")


def _refuse_other_kinds(given: str, names: list[str]) -> None:
    """What is no Parquet can be made some."""
    kind = kind_of(names)
    if kind not in (None, "parquet"):
        raise ValueError(
            f"--input {given}: this is {NAMES[kind]}, and a run reads Parquet; make a table of it with: "
            f"python jobs/prepare.py --input {shlex.quote(given)} --output TABLE"
        )


def _full(given: str, bare: str) -> str:
    return bare if is_local(given) else f"{protocol_of(given)}://{bare.lstrip('/')}" if "://" not in bare else bare


def _read_footer(path: str, options: dict[str, Any]) -> InputFile:
    try:
        with RangeFile(path, options) as file:
            size, footer = file.size, footer_of(cast(BinaryIO, file))
        metadata = parquet_metadata(footer)
        groups = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
        schema = metadata.schema.to_arrow_schema()
        measured = _measure(metadata)
    except StorageError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"--input {path} is not readable Parquet: {_first_line(error)}") from error
    if any(rows < 0 for rows in groups) or sum(groups) > _MAX_ROWS_PER_BYTE * size:
        raise ValueError(
            f"--input {path} is not readable Parquet: its footer claims {sum(groups)} rows in {size} bytes"
        )
    digest = hashlib.sha256(footer).hexdigest()
    return InputFile(
        path=path, size=size, footer_sha256=digest, row_group_rows=groups, schema=schema, measured=measured
    )


def _measure(metadata: pq.FileMetaData) -> ColumnSizes:
    """Sizes of columns, from row groups all over the file."""
    num_rows, columns = 0, dict[str, ColumnSize]()
    for index in range(0, metadata.num_row_groups, max(1, metadata.num_row_groups // _MEASURED_GROUPS)):
        group = metadata.row_group(index)
        num_rows += group.num_rows
        found = dict[str, ColumnSize]()
        for number in range(group.num_columns):
            chunk = group.column(number)
            name = chunk.path_in_schema.split(".")[0]
            before = found.get(name, ColumnSize(0, 0))
            num_bytes = before.num_bytes + chunk.total_uncompressed_size
            found[name] = ColumnSize(max(before.num_values, chunk.num_values), num_bytes)
        for name, size in found.items():
            total = columns.get(name, ColumnSize(0, 0))
            columns[name] = ColumnSize(total.num_values + size.num_values, total.num_bytes + size.num_bytes)
    return ColumnSizes(num_rows, columns)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
