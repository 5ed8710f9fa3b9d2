"""The job that exports, as its user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from litelvlm.jobs.export import main
from tests.pipeline.export.masked_runs import masked_run


def test_a_run_is_exported_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = masked_run(tmp_path)
    command = [str(run), "--to", "label-maps", "--output", str(tmp_path / "maps")]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"done: 4 images, 9 objects as label-maps: {tmp_path}/maps"
    assert main(command) == 0
    assert "is complete; nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["gone", "--to", "voc", "--output", "{}/x"], "holds no finished run"),
        (["gone", "--to", "yolo", "--output", "{}/x"], "did you mean yolo-seg?"),
        (["gone", "--output", "{}/x"], "--to is missing"),
        (["gone", "--to", "voc"], "--output is missing"),
        (["--to", "voc", "--output", "{}/x"], "run is missing"),
        (["gone", "--to", "voc", "--output", "{}/x", "--min-score", "2"], "--min-score is 2"),
        (["gone", "--to", "voc", "--output", "{}/x", "--tolerance", "-1"], "--tolerance is -1"),
    ],
)
def test_mistakes_are_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], line: str
) -> None:
    assert main([flag.format(tmp_path) for flag in flags]) == 2
    told = capsys.readouterr().err
    assert line in told
    assert told.count("\n") == 1
