"""The manifest of a run: a deterministic list of shards, and the fingerprint that ties an output to what made it.

A shard is a run of whole rows inside one row group of one file. Its id hashes what it is made of, and begins with its
position, so that names sort in the order of the input.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.config import RunConfig, fingerprint, fingerprint_facts
from litelvlm.pipeline.contracts import check_version
from litelvlm.pipeline.schemas import FORMAT_VERSION, MANIFEST_NAME, MANIFEST_SCHEMA
from litelvlm.pipeline.shards.sizing import shard_rows
from litelvlm.pipeline.storage.parquet import read_parquet
from litelvlm.pipeline.storage.store import Storage
from litelvlm.pipeline.table.columns import ColumnMapping, input_columns
from litelvlm.pipeline.table.footers import InputFile, list_files, read_footers, shard_digest
from litelvlm.pipeline.table.schema_set import reconcile

_VERSION = "version"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Rows `row_start` to `row_stop` (half open) of one file, `num_rows` of them after sampling."""

    shard_id: str
    index: int
    file: str
    id_prefix: str
    row_group: int
    row_group_start: int
    row_start: int
    row_stop: int
    num_rows: int


def record_key(shard: Shard, row: int, phrase_index: int) -> str:
    """Key of a record, which stays the same wherever the input lies, and is unique in a run: 16 hexadecimal digits of
    its row, and its phrase's position there."""
    name = f"{shard.id_prefix}/{row}"
    return f"{hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}-{phrase_index}"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`manifest.parquet`: all shards of a run, in input order."""

    shards: tuple[Shard, ...]

    def to_parquet(self) -> bytes:
        """A row of `MANIFEST_SCHEMA` for each shard; the same bytes for the same shards."""
        schema = MANIFEST_SCHEMA.with_metadata({_VERSION: str(FORMAT_VERSION)})
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([asdict(one) for one in self.shards], schema), buffer, compression="zstd")
        return buffer.getvalue()

    @classmethod
    def from_table(cls, table: pa.Table) -> Manifest:
        """The shards of a table with all columns of `MANIFEST_SCHEMA`, or of some of its rows."""
        return cls(shards=tuple(Shard(**row) for row in table.to_pylist()))


def read_manifest(storage: Storage, columns: Sequence[str] | None = None) -> pa.Table:
    """The manifest of a run as a table, or some columns of it.

    Raises:
        ValueError: there is no run.
        DataError: another version of this program wrote it.
    """
    try:
        with storage.open_read(MANIFEST_NAME) as stream:
            table = read_parquet(stream, columns)
    except FileNotFoundError as error:
        raise ValueError(f"output {storage.root!r} holds no run: there is no {MANIFEST_NAME}") from error
    version = (table.schema.metadata or {}).get(_VERSION.encode(), b"").decode()
    check_version(int(version) if version.isdigit() else None, MANIFEST_NAME)
    return table.replace_schema_metadata(None)


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What there is to do, whether or not some of it is done."""

    shards: tuple[Shard, ...]
    mapping: ColumnMapping
    facts: dict[str, Any]
    fingerprint: str
    num_files: int
    num_input_rows: int  # rows in the files, before --limit and --sample
    remarks: tuple[str, ...] = ()  # what of the input is left out, for the user
    bytes_reread: int = 0  # about, if every shard reads its row group from the start
    bytes_a_shard: int = 0  # about, of the heaviest

    @property
    def num_rows(self) -> int:
        """Rows the run annotates."""
        return sum(shard.num_rows for shard in self.shards)


def make_plan(config: RunConfig, *, revision: str) -> RunPlan:
    """Read the footers of all input files and cut them into shards.

    Raises:
        ValueError: no such path, unreadable Parquet, missing or ambiguous columns, or no row to annotate.
    """
    source = config.source
    paths = list_files(source.input, config.storage_options, output=config.output)
    files = read_footers(paths, config.storage_options)
    num_files, files = len(files), [file for file in files if file.num_rows] or files
    mapping = _mapping_of(files, config)
    sizes = [source.shard_images or shard_rows(file, mapping) for file in files]
    shards = tuple(_cut(files, sizes, limit=source.limit, sample=source.sample))
    if not shards:
        raise ValueError(f"--input {' '.join(source.input)}: no row to annotate")
    facts = fingerprint_facts(
        config, files=[file.facts() for file in files], columns=mapping.without_mask().describe(), revision=revision
    )
    return RunPlan(
        shards=shards,
        mapping=mapping,
        facts=facts,
        fingerprint=fingerprint(facts),
        num_files=num_files,
        num_input_rows=sum(file.num_rows for file in files),
        remarks=_remarks(num_files - len(files)),
        bytes_reread=_bytes_reread(files, shards),
        bytes_a_shard=int(max(_bytes_a_row(file) * size for file, size in zip(files, sizes, strict=True))),
    )


def _bytes_reread(files: Sequence[InputFile], shards: Sequence[Shard]) -> int:
    bytes_a_row = {file.path: _bytes_a_row(file) for file in files}
    return int(sum((one.row_start - one.row_group_start) * bytes_a_row[one.file] for one in shards))


def _bytes_a_row(file: InputFile) -> float:
    return file.size / max(file.num_rows, 1)


def _remarks(num_empty: int) -> tuple[str, ...]:
    return (f"{num_empty} files without rows are left out",) if num_empty else ()


def selected_rows(path: str, row_start: int, row_stop: int, sample: float | None) -> Sequence[int]:
    """Rows of a range that belong to a sample, ascending.

    A row is in or out by a hash of its file and number, so a sample does not depend on shards, order or earlier runs.
    """
    if sample is None or sample >= 1.0:
        return range(row_start, row_stop)
    rows = np.arange(row_start, row_stop, dtype=np.int64)
    return rows[row_hashes(path, rows) < np.uint64(sample * float(2**64 - 2**11))].tolist()


def row_hashes(path: str, rows: np.ndarray) -> np.ndarray:
    """A well mixed uint64 per row (splitmix64 of the row number, offset by a hash of the path)."""
    seed = np.uint64(int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "big"))
    with np.errstate(over="ignore"):
        z = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + seed
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def _mapping_of(files: list[InputFile], config: RunConfig) -> ColumnMapping:
    mapping = None
    for file, schema in zip(files, reconcile(file.schema for file in files), strict=True):
        try:
            found = input_columns(schema, config.source)
        except ValueError as error:
            raise ValueError(f"{file.path}: {error}") from error
        if mapping is not None and found != mapping:
            raise ValueError(
                f"the input files differ in their columns: {files[0].path} has {mapping.describe()}, "
                f"{file.path} has {found.describe()}; annotate them in separate runs"
            )
        mapping = found
    assert mapping is not None
    return mapping


def _cut(files: list[InputFile], sizes: list[int], *, limit: int | None, sample: float | None) -> Iterator[Shard]:
    prefixes = _id_prefixes([file.path for file in files])
    left = limit
    index = 0
    for file, id_prefix, size in zip(files, prefixes, sizes, strict=True):
        group_start = 0
        for row_group, group_rows in enumerate(file.row_group_rows):
            rows = selected_rows(file.path, group_start, group_start + group_rows, sample)[:left]
            left = None if left is None else left - len(rows)
            for first in range(0, len(rows), size):
                chosen = rows[first : first + size]
                yield _shard(file, id_prefix, index, row_group, group_start, chosen, sample)
                index += 1
            group_start += group_rows


def _shard(
    file: InputFile,
    id_prefix: str,
    index: int,
    row_group: int,
    group_start: int,
    rows: Sequence[int],
    sample: float | None,
) -> Shard:
    start, stop = int(rows[0]), int(rows[-1]) + 1
    digest = shard_digest(file.path, file.footer_sha256, row_group, start, stop, sample)
    return Shard(
        shard_id=f"{index:07d}-{digest}",
        index=index,
        file=file.path,
        id_prefix=id_prefix,
        row_group=row_group,
        row_group_start=group_start,
        row_start=start,
        row_stop=stop,
        num_rows=len(rows),
    )


def _id_prefixes(paths: list[str]) -> list[str]:
    """A short, unique name per file, for the ids of rows that have none: its path below what all files share."""
    parents = [path.split("/")[:-1] for path in paths]
    shared = 0
    while all(len(parts) > shared and parts[shared] == parents[0][shared] for parts in parents):
        shared += 1
    return ["/".join(path.split("/")[shared:]).removesuffix(".parquet") for path in paths]
