"""A run's report, written again; what is wrong, in one line."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from litelvlm.jobs.report import main
from litelvlm.pipeline.report.write import REPORT_NAME
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import mixed_rows


@pytest.mark.slow
def test_a_report_is_written_again_with_another_price(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage, _ = make_output(tmp_path, mixed_rows(12))
    page = tmp_path / "out" / REPORT_NAME
    page.unlink(missing_ok=True)
    assert main([storage.root]) == 0
    first = page.read_text()
    assert main([storage.root, "--gpu-price", "3600"]) == 0
    gpu_s = sum(pq.read_table(tmp_path / "out" / "throughput.parquet").column("gpu_s").to_pylist())
    cost = f"{gpu_s:.2f}" if gpu_s >= 1 else f"{gpu_s:.3g}"  # at 3600 an hour, a second costs 1
    assert cost in page.read_text()
    assert first != page.read_text()
    assert [Path(line) for line in capsys.readouterr().out.splitlines()] == [page, page]


def test_a_run_that_goes_on_has_a_report(tmp_path: Path) -> None:
    storage, _ = make_output(tmp_path, mixed_rows(8), shards=0, finish=False)
    assert main([storage.root]) == 0
    assert "0 of 8 rows are done" in (tmp_path / "out" / REPORT_NAME).read_text()


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "no config.json" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{}")
    assert main([str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
