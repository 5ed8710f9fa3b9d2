"""The job that compares two runs, as its user calls it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from litelvlm.jobs.compare import main
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import mixed_rows


def test_two_runs_are_compared_and_mistakes_are_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_output(tmp_path / "a", mixed_rows(6))
    shutil.copytree(tmp_path / "a/out", tmp_path / "b")
    a, b, output = str(tmp_path / "a/out"), str(tmp_path / "b"), str(tmp_path / "c")
    assert main([a, b, "--output", output]) == 0
    assert "100.0% of " in capsys.readouterr().out
    assert {one.name for one in (tmp_path / "c").iterdir()} >= {"compare.parquet", "compare.json", "compare.html"}
    for flags, line in (
        ([a], "b is missing"),
        ([a, b], "--output is missing"),
        ([a, str(tmp_path / "gone"), "--output", output], "holds no run"),
        ([a, b, "--output", output, "--agree-iou", "2"], "--agree-iou is 2"),
        ([b, a, "--output", a], "holds something else"),
    ):
        assert main(flags) == 2
        told = capsys.readouterr().err
        assert line in told
        assert told.count("\n") == 1
