"""The job that reviews, as its user calls it, step by step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from litelvlm.jobs.review import main
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import mixed_rows


@pytest.mark.slow
def test_an_afternoon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_output(tmp_path, mixed_rows(30), max_failure_rate=1.0)
    run, queue = str(tmp_path / "out"), str(tmp_path / "q.parquet")
    assert main(["queue", run, "--output", queue, "--budget", "20", "--strata", "phrase"]) == 0
    tasks = str(tmp_path / "tasks")
    assert main(["export", run, "--to", "coco", "--queue", queue, "--output", tasks]) == 0
    reviewed, accepted = str(tmp_path / "reviewed"), str(tmp_path / "accepted")
    assert main(["ingest", run, "--from", tasks, "--output", reviewed]) == 0
    command = ["accept", run, "--reviewed", reviewed, "--queue", queue, "--output", accepted, "--target-iou", "0.8",
               "--max-error", "0.05", "--confidence", "0.95"]  # fmt: skip
    assert main(command) == 0
    assert main(command) == 0
    certificate = json.loads((tmp_path / "accepted/certificate.json").read_text())
    assert (certificate["max_error"], certificate["confidence"]) == (0.05, 0.95)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["queue", "gone", "--output", "q.parquet", "--budget", "5"], "holds no run"),
        (["queue", "gone", "--output", "q.parquet"], "--budget is missing"),
        (["queue", "gone", "--output", "q.parquet", "--budget", "5", "--strata", "phrases"], "did you mean phrase?"),
        (["export", "gone", "--to", "labelstudio", "--output", "x"], "did you mean label-studio?"),
        (["ingest", "gone", "--output", "x"], "--from is missing"),
        (["accept", "gone", "--reviewed", "r", "--output", "x", "--max-error", "5"], "--max-error is 5"),
    ],
)
def test_mistakes_are_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, flags: list[str], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(flags) == 2
    told = capsys.readouterr().err
    assert line in told
    assert told.count("\n") == 1
