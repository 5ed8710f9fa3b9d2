"""The throughput table of a run: shown, kept, priced."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from litelvlm.jobs.throughput import main
from litelvlm.pipeline.schemas import THROUGHPUT_SCHEMA
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import mixed_rows


def test_shards_of_a_run_that_goes_on_are_shown_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage, _ = make_output(tmp_path, mixed_rows(12), shards=2, finish=False, shard_images=4)
    kept = tmp_path / "table.parquet"
    assert main([storage.root, "--table", str(kept), "--gpu-price", "3600"]) == 0
    shown = capsys.readouterr().out
    assert "2 of 3" in shown
    table = pq.read_table(kept)
    assert table.schema.equals(THROUGHPUT_SCHEMA)
    rows = table.to_pylist()
    assert [row["rows"] for row in rows] == [4, 4]
    assert [row["cost"] for row in rows] == pytest.approx([row["gpu_s"] for row in rows])
    assert f"{sum(row['gpu_s'] for row in rows):.4f} for " in shown


def test_a_run_without_a_shard_is_a_table_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage, _ = make_output(tmp_path, mixed_rows(4), shards=0, finish=False)
    assert main([storage.root]) == 0
    assert "0 of 1" in capsys.readouterr().out


def test_where_there_is_no_run_a_line_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    (message,) = capsys.readouterr().err.strip().splitlines()
    assert message.startswith("error: ")
    assert "no config.json" in message
