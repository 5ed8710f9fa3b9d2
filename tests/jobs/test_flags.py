"""What all jobs do alike: `--help`, and one line with code 2 for what is misspelt, with the nearest that is right."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from litelvlm.pipeline.exit_codes import EXIT_USAGE

JOBS: dict[str, list[str]] = {
    "annotate": [],
    "prepare": [],
    "export": [],
    "review": ["queue"],
    "compare": [],
    "evaluate": [],
    "similarity": [],
    "ground_truth": ["refer"],
    "plan": [],
    "throughput": [],
    "report": [],
    "convert": [],
    "serve": [],
}


def run(job: str, *arguments: str) -> int:
    code: int = importlib.import_module(f"litelvlm.jobs.{job}").main([*JOBS[job], *arguments])
    return code


def refusal(job: str, *arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a job refuses its arguments with."""
    assert run(job, *arguments) == EXIT_USAGE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"error: [^\n]+\n", printed.err)
    return printed.err


@pytest.mark.parametrize("job", JOBS)
def test_help_shows_a_default_for_every_flag(
    job: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        run(job, "--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    flags = re.split(r"\n  (?=--?[a-z])", text[text.index("\noptions:") :])[1:]
    assert len(flags) > 3
    for flag in flags[1:]:  # but for --help itself
        assert re.search(r"\((default:\s[^()]+|required)", flag), flag


@pytest.mark.parametrize(
    ("job", "typo", "meant"),
    [
        ("annotate", "--num-retain-token", "--num-retain-tokens"),
        ("annotate", "--outpt", "--output"),
        ("evaluate", "--budget", "--budgets"),
        ("similarity", "--insid", "--inside"),
        ("ground_truth", "--embed-image", "--embed-images"),
        ("plan", "--deadline-hour", "--deadline-hours"),
        ("throughput", "--gpu-prise", "--gpu-price"),
        ("report", "--storage-option", "--storage-options"),
        ("convert", "--ouput", "--output"),
        *((job, "--storage-opt", "--storage-options") for job in JOBS if job != "convert"),
        ("convert", "--dtyp", "--dtype"),
    ],
)
def test_a_misspelt_or_shortened_flag_is_answered_with_the_right_one(
    job: str, typo: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in ([typo, "key=hunter22"], [f"{typo}=key=hunter22"]):
        told = refusal(job, *given, capsys=capsys)
        assert f"{typo}: no such flag" in told
        assert f"did you mean {meant}?" in told
        assert "hunter22" not in told


@pytest.mark.parametrize(
    ("job", "arguments", "message"),
    [
        ("annotate", ["--rule", "relase"], "did you mean release?"),
        ("annotate", ["--layout", "seperate"], "did you mean separate?"),
        ("annotate", ["--device", "cpuu"], "did you mean cpu?"),
        ("annotate", ["--limit", "1.5"], "--limit is 1.5; it must be a whole number"),
        ("annotate", ["--storage-options", "hunter22"], "--storage-options: takes key=value"),
        ("evaluate", ["--rules", "none,papr"], "did you mean paper?"),
        ("evaluate", ["--protocol", "evry"], "did you mean every?"),
        ("evaluate", ["--seeds", "-1"], "--seeds is -1; it must be greater than or equal to 0"),
        ("similarity", ["--text", "phrases"], "did you mean phrase?"),
        ("similarity", ["--inside", "1.5"], "--inside is 1.5; it must be less than or equal to 1"),
        ("ground_truth", ["--dataset", "refcoc"], "did you mean refcoco?"),
        ("ground_truth", [], "--output is missing"),
        ("plan", ["--layouts", "share"], "did you mean shared?"),
        ("plan", ["--budgets", "few"], "--budgets is"),
        ("plan", [], "--images is missing"),
        ("throughput", ["x", "--gpu-price", "nan"], "--gpu-price is nan; it must be a finite number"),
        ("throughput", [], "output is missing"),
        ("report", ["x", "--gpu-price", "-1"], "--gpu-price is -1"),
        ("convert", ["--dtype", "bfloat61"], "did you mean bfloat16?"),
        ("convert", ["--model", "x"], "--output is missing"),
    ],
)
def test_a_value_that_does_not_fit_is_answered_in_a_line(
    job: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refusal(job, *arguments, capsys=capsys)
    assert message in told
    assert "hunter22" not in told


@pytest.mark.parametrize("job", [job for job in JOBS if job not in ("plan", "serve")])
def test_a_file_of_settings_goes_through_the_same_door(
    job: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("ouput: x\n")
    assert "unknown setting ouput; did you mean output?" in refusal(job, "--config", str(path), capsys=capsys)
    path.write_text("output: [x]\n")
    assert "output is ['x']; it must be text" in refusal(job, "--config", str(path), capsys=capsys)


def test_a_misspelt_source_is_answered_with_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    main = importlib.import_module("litelvlm.jobs.ground_truth").main
    assert main(["tabel"]) == EXIT_USAGE
    assert capsys.readouterr().err == "error: tabel: choose from refer, table, coco; did you mean table?\n"
