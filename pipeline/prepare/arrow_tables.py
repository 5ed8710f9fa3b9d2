"""Tables that Arrow reads: Parquet, the folders that Hugging Face's `datasets` saves, Delta and Lance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import pyarrow.ipc as pa_ipc
import pyarrow.parquet as pq

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.prepare.pieces import InputFile, Notes, Options, completed
from litelvlm.pipeline.prepare.rows import PreparedRow
from litelvlm.pipeline.storage.range_file import RangeFile
from litelvlm.pipeline.table.columns import ColumnMapping
from litelvlm.pipeline.table.footers import footer_of, parquet_metadata
from litelvlm.pipeline.table.kinds import Kind
from litelvlm.pipeline.table.rows import iter_rows, raw_row

_BATCH_ROWS = 16


@dataclass(frozen=True, kw_only=True)
class ArrowPiece:
    """A file of Parquet or Arrow, or a whole Delta or Lance table."""

    kind: Kind
    file: InputFile
    mapping: ColumnMapping
    options: Options

    @property
    def identity(self) -> str:
        return f"{self.file.identity}:{self.mapping.describe()}"

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


def arrow_schema(kind: Kind, file: InputFile, options: Options) -> pa.Schema:
    """Columns of a file. Raises ValueError where it is none, or its package is missing."""
    try:
        if kind == "datasets":
            with RangeFile(file.path, options) as raw:
                return _plain(pa_ipc.open_stream(pa.PythonFile(raw, mode="r")).schema)
        if kind == "parquet":
            with RangeFile(file.path, options) as raw:
                return parquet_metadata(footer_of(cast(Any, raw))).schema.to_arrow_schema()
        return _dataset(kind, file.path).schema
    except StorageError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{file.path}: {(str(error).splitlines() or [''])[0][:300]}") from error


def _batches(kind: Kind, file: InputFile, options: Options, columns: list[str]) -> Iterator[pa.RecordBatch]:
    if kind in ("delta", "lance"):
        table = _dataset(kind, file.path)
        there = [name for name in columns if name in table.schema.names]
        yield from table.scanner(columns=there, batch_size=_BATCH_ROWS).to_batches()
        return
    with RangeFile(file.path, options) as raw:
        if kind == "datasets":
            for batch in pa_ipc.open_stream(pa.PythonFile(raw, mode="r")):
                yield batch.select([name for name in columns if name in batch.schema.names])
            return
        parquet = pq.ParquetFile(raw, metadata=parquet_metadata(footer_of(cast(Any, raw))), pre_buffer=False)
        yield from parquet.iter_batches(batch_size=_BATCH_ROWS, columns=columns, use_threads=False)


def _dataset(kind: Kind, path: str) -> Any:
    """A table with a log, through its own package."""
    try:
        if kind == "delta":
            from deltalake import DeltaTable

            return DeltaTable(path).to_pyarrow_dataset()
        import lance

        return lance.dataset(path)
    except ImportError as error:
        package = "deltalake" if kind == "delta" else "pylance"
        raise ValueError(f"reading it takes the package {package}: pip install 'litelvlm-annotate[{kind}]'") from error


def _plain(schema: pa.Schema) -> pa.Schema:
    return schema.remove_metadata()
