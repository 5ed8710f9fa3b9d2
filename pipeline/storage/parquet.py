"""Small Parquet files, read by the thread that asks.

Arrow reads ahead on threads of its own (`read_table`, `pre_buffer`). Where they read through Python, one of them may
let go of its last buffer when the interpreter is already ending, and Python before 3.14 then aborts the process: a job
that did its work would end with code 134.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq


def read_parquet(source: bytes | BinaryIO, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole file, or those of these columns that it has.

    Raises pyarrow.ArrowInvalid where it is damaged.
    """
    file = pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source, pre_buffer=False)
    return file.read(columns=list(columns) if columns is not None else None, use_threads=False)
