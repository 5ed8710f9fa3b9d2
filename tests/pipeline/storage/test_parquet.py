"""Small Parquet files: read whole or in part, and never on a thread that outlives the interpreter."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.storage.parquet import read_parquet
from tests.conftest import ROOT

TABLE = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})

PROGRAM = """
import os, sys
from litelvlm.pipeline.storage.parquet import read_parquet
before = set(os.listdir("/proc/self/task"))
print(read_parquet(sys.stdin.buffer.read()).num_rows, len(set(os.listdir("/proc/self/task")) - before))
"""


def written() -> bytes:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink, row_group_size=2)
    return sink.getvalue()


def test_bytes_and_streams_are_read_whole_or_in_part() -> None:
    assert read_parquet(written()).equals(TABLE)
    assert read_parquet(io.BytesIO(written()), ["b", "gone"]).equals(TABLE.select(["b"]))


def test_a_damaged_file_is_told() -> None:
    with pytest.raises(pa.ArrowInvalid):
        read_parquet(written()[:-5])


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted on Linux")
def test_no_thread_is_left_behind() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, input=written(), capture_output=True, check=True)
    assert done.stdout.split() == [b"3", b"0"]
