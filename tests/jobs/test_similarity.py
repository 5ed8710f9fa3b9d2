"""The command: flags to a configuration, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from litelvlm.demo.truth import main as write_scenes
from litelvlm.jobs.similarity import main, read_flags


def test_flags_become_a_configuration() -> None:
    config = read_flags(["--input", "a.parquet", "--output", "out", "--inside", "0.75", "--text", "phrase"])
    assert (config.comparison.inside, config.comparison.text) == (0.75, "phrase")
    assert (config.dataset, config.run.source.mask_column) == ("a", "masks")


def test_it_runs_and_refuses_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(tmp_path / "scenes.parquet")
    assert write_scenes(["--scenes", "2", "--output", table]) == 0
    flags = ["--output", str(tmp_path / "out"), "--device", "cpu", "--bootstrap-samples", "0"]
    assert main(["--input", table, *flags]) == 0
    assert json.loads((tmp_path / "out" / "similarity.json").read_text())["images"] == 2
    capsys.readouterr()
    assert main(["--input", str(tmp_path / "none.parquet"), *flags]) == 2
    assert capsys.readouterr().err.startswith("error: ")
