"""The queue's file is read back, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.review.queue_table import read_queue
from tests.pipeline.review.conftest import queue_of


def test_it_comes_back(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    made = queue_of(run, path, where="score < 0.9", seed=3)
    read = read_queue(str(path), {})
    assert read.items.equals(made.items)
    assert read.facts == made.facts
    assert (read.facts.where, read.facts.seed) == ("score < 0.9", 3)


def test_other_files_are_refused_in_a_line(tmp_path: Path) -> None:
    pq.write_table(pa.table({"record": ["x"]}), tmp_path / "other.parquet")
    (tmp_path / "no.parquet").write_bytes(b"PAR1")
    for name, line in (("other", "is no queue"), ("no", "is no queue"), ("gone", "there is no such file")):
        with pytest.raises(ValueError, match=line):
            read_queue(str(tmp_path / f"{name}.parquet"), {})
