"""The job that makes tables, as its user calls it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from litelvlm.jobs.prepare import main
from tests.pipeline.prepare.collections import NAMES, images, make_coco


@pytest.mark.usefixtures("local_ray")
def test_a_folder_becomes_a_table_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images(tmp_path / "photos")
    (tmp_path / "phrases.txt").write_text("a dog\n")
    command = ["--input", str(tmp_path / "photos"), "--output", str(tmp_path / "table")]
    command += ["--phrases", str(tmp_path / "phrases.txt")]
    assert main(command) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"input: 4 images below {tmp_path}/photos"
    assert told[-2] == f"done: 4 rows, 4 phrases in 1 files: {tmp_path}/table"
    assert pq.read_table(tmp_path / "table").num_rows == len(NAMES)
    assert main(command) == 0
    assert "is complete: 4 rows; nothing to do" in capsys.readouterr().out
    assert main([*command, "--rows-per-group", "2"]) == 2
    assert "holds a table of another input or setting (rows_per_group)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--input", "{}/gone"], "error: --input {}/gone: nothing there"),
        (["--input", "{}", "--kind", "cocoo"], "did you mean coco?"),
        (["--input", "{}", "--kind", "csv"], "no file of CSV in it"),
        (["--input", "{}", "--phrases", "{}/gone.txt"], "gone.txt"),
        (["--input", "{}", "--rows-per-group", "0"], "--rows-per-group is 0"),
        (["--input", "{}", "--limits", "3"], "--limits: no such flag; did you mean --limit?"),
        ([], "--input"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], line: str) -> None:
    make_coco(tmp_path)
    given = [flag.format(tmp_path) for flag in flags]
    assert main([*given, "--output", str(tmp_path / "table")]) == 2
    told = capsys.readouterr().err.strip()
    assert "\n" not in told
    assert line.format(tmp_path) in told
    assert not (tmp_path / "table").exists()
