"""Tables that Arrow reads: Parquet, the folders that Hugging Face's `datasets` saves, Delta, Lance and Iceberg."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import pyarrow.ipc as pa_ipc
import pyarrow.parquet as pq

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.prepare.pieces import MappedFile, Notes, Options, SourceFile, completed
from litelvlm.pipeline.prepare.rows import PreparedRow
from litelvlm.pipeline.storage.filesystems import filesystem_for, is_local, local_path
from litelvlm.pipeline.storage.listing import files_below
from litelvlm.pipeline.storage.range_file import RangeFile
from litelvlm.pipeline.table.footers import footer_of, parquet_metadata
from litelvlm.pipeline.table.kinds import ICEBERG, Kind
from litelvlm.pipeline.table.rows import iter_rows, raw_row

_BATCH_ROWS = 16
#: Kinds of tables whose logs say what counts, and the packages that read them.
LOGGED: dict[Kind, str] = {"delta": "deltalake", "lance": "pylance", "iceberg": "pyiceberg"}


@dataclass(frozen=True, kw_only=True)
class ArrowPiece(MappedFile):
    """A file of Parquet or Arrow, or a whole table with a log."""

    kind: Kind

    def rows(self, notes: Notes) -> Iterator[PreparedRow]:
        """A row each. Raises ValueError where the file is damaged."""
        try:
            for batch in _batches(self.kind, self.file, self.options, self.mapping.columns()):
                for cells in iter_rows(completed(batch, self.mapping), self.mapping):
                    data, path, phrases = raw_row(cells, self.mapping)
                    image_id = cells.get(self.mapping.id) if self.mapping.id else None
                    yield PreparedRow(
                        image_id=str(image_id) if isinstance(image_id, str | int) else None,
                        data=data,
                        path=path,
                        phrases=tuple(phrases),
                    )
        except StorageError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{self.file.path}: {str(error).splitlines()[0][:300]}") from error


def table_version(kind: Kind, path: str, options: Options) -> str:
    """The newest version of a table with a log, which is then read whatever is written meanwhile.

    Raises ValueError where there is none, or its package is missing.
    """
    try:
        if kind == "iceberg":
            return _newest_metadata(path, options)
        dataset = _dataset(kind, path, None)
        return str(dataset.version() if kind == "delta" else dataset.version)
    except StorageError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path}: {(str(error).splitlines() or [''])[0][:300]}") from error


def arrow_schema(kind: Kind, file: SourceFile, options: Options) -> pa.Schema:
    """Columns of a file. Raises ValueError where it is none, or its package is missing."""
    try:
        if kind == "datasets":
            with RangeFile(file.path, options) as raw:
                return _plain(pa_ipc.open_stream(pa.PythonFile(raw, mode="r")).schema)
        if kind == "parquet":
            with RangeFile(file.path, options) as raw:
                return parquet_metadata(footer_of(cast(Any, raw))).schema.to_arrow_schema()
        if kind == "iceberg":
            return _iceberg(file, options).schema().as_arrow()
        return _arrow_dataset(kind, file).schema
    except StorageError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{file.path}: {(str(error).splitlines() or [''])[0][:300]}") from error


def _batches(kind: Kind, file: SourceFile, options: Options, columns: list[str]) -> Iterator[pa.RecordBatch]:
    if kind == "iceberg":
        table = _iceberg(file, options)
        there = tuple(name for name in columns if name in table.schema().as_arrow().names)
        yield from table.scan(selected_fields=there).to_arrow_batch_reader()
        return
    if kind in LOGGED:
        table = _arrow_dataset(kind, file)
        known = [name for name in columns if name in table.schema.names]
        yield from table.scanner(columns=known, batch_size=_BATCH_ROWS).to_batches()
        return
    with RangeFile(file.path, options) as raw:
        if kind == "datasets":
            for batch in pa_ipc.open_stream(pa.PythonFile(raw, mode="r")):
                yield batch.select([name for name in columns if name in batch.schema.names])
            return
        parquet = pq.ParquetFile(raw, metadata=parquet_metadata(footer_of(cast(Any, raw))), pre_buffer=False)
        yield from parquet.iter_batches(batch_size=_BATCH_ROWS, columns=columns, use_threads=False)


def _arrow_dataset(kind: Kind, file: SourceFile) -> Any:
    dataset = _dataset(kind, file.path, int(file.version) if file.version else None)
    return dataset.to_pyarrow_dataset() if kind == "delta" else dataset


def _dataset(kind: Kind, path: str, version: int | None) -> Any:
    """A table with a log, through its own package; its newest version for None."""
    try:
        if kind == "delta":
            from deltalake import DeltaTable

            return DeltaTable(path, version=version)
        import lance

        return lance.dataset(path, version=version)
    except ImportError as error:
        raise _not_installed(kind) from error


def _newest_metadata(path: str, options: Options) -> str:
    """Where the newest state of an Iceberg table is described."""
    fs, bare = filesystem_for(path, options)
    states = [(int(found[2]), name) for name in files_below(fs, bare, path) if (found := ICEBERG.search(name))]
    if not states:
        raise ValueError("there are no metadata of an Iceberg table")
    newest = max(states)[1]
    return newest if is_local(path) else str(fs.unstrip_protocol(newest))


def _iceberg(file: SourceFile, options: Options) -> Any:
    """A state of an Iceberg table. Raises ValueError where it names files outside of its own folder.

    Its metadata name files by whole URIs, and whoever wrote them does not hold this program's rights to read.
    """
    try:
        from pyiceberg.table import StaticTable
    except ImportError as error:
        raise _not_installed("iceberg") from error
    home = _bare(file.path).rstrip("/") + "/"
    try:
        table = StaticTable.from_metadata(file.version or _newest_metadata(file.path, options))
        for name in _named_files(table):
            if not _bare(name).startswith(home):
                raise ValueError(f"it names {name[:200]}, which is not below {file.path}; was it moved?")
    except (ValueError, OSError):
        raise
    except Exception as error:
        raise ValueError(f"its metadata cannot be read: {type(error).__name__}: {error}") from error
    return table


def _named_files(table: Any) -> Iterator[str]:
    """What the newest state of an Iceberg table reads, each name before what it names is opened."""
    snapshot = table.current_snapshot()
    if snapshot is None:
        return
    yield snapshot.manifest_list
    yield from (manifest.manifest_path for manifest in snapshot.manifests(table.io))
    for task in table.scan().plan_files():
        yield from (one.file_path for one in (task.file, *task.delete_files))


def _bare(uri: str) -> str:
    return local_path(uri) if is_local(uri) else uri


def _not_installed(kind: Kind) -> ValueError:
    return ValueError(f"reading it takes the package {LOGGED[kind]}: pip install 'litelvlm-annotate[{kind}]'")


def _plain(schema: pa.Schema) -> pa.Schema:
    return schema.remove_metadata()
