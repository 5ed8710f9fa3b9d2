"""The whole command at a small size: every step, a deadline, a step that fails, and what is imported for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.full_size import Contest
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import formulations, parity, release
from benchmarks.gpu.session import Findings, Session, Skipped, Step

ROOT = Path(__file__).resolve().parents[3]
NAMES = [step.name for step in command.STEPS]

# What the image of a lent GPU lacks, or what no measurement needs.
REFUSED = (
    "ray", "pyarrow", "fsspec", "s3fs", "torchao", "pandas", "pydantic", "annotated_types", "boto3", "datasets",
    "matplotlib", "duckdb", "cv2",
)  # fmt: skip
WITHOUT = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {REFUSED} else super().find_spec(name, path, target)

sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
from benchmarks.gpu import __main__ as command, host, masks, parity, release
host.SIZES_HW = masks.SIZES_HW = dict(tiny=(48, 64))
release.PHRASES, release.ROUNDS = (1, 3), 1
cases = parity.load_cases()[4:6]
parity.load_cases = lambda: cases
sys.exit(command.main(sys.argv[1:]))
"""


def read(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text())["steps"]


def options(folder: Path, *others: str) -> list[str]:
    return ["--output", str(folder), "--size", "small", "--device", "cpu", *others]


@pytest.mark.slow
def test_all_steps_run_without_ray_network_or_tables(tmp_path: Path) -> None:
    arguments = options(tmp_path, "--seconds", "300")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    steps = read(tmp_path)
    assert list(steps) == NAMES
    skipped = {name for name, found in steps.items() if found["status"] == "skipped"}
    assert skipped <= {"tests", "formulations"}, {name: steps[name]["reason"] for name in skipped}
    assert {found["status"] for name, found in steps.items() if name not in skipped} == {"done"}
    assert steps["parity"]["facts"]["cases that match in float32"] == "2 of 2"
    settings = {
        (row["phrases_per_image"], row["tokens"], row["layout"])
        for name in ("release", "matrix")
        for row in steps[name]["tables"][release.TABLE]
    }
    pairs = {(phrases, tokens) for phrases in (1, 3) for tokens in (12, 36, 8, 4)}
    expected = {(*pair, layout) for pair in pairs for layout in ("separate", "shared")}
    assert settings == expected | {(1, 12, "rounds"), (3, 12, "rounds")}
    assert all(0 < row["mfu_needed"] < row["mfu_executed"] < 1 for row in steps["release"]["tables"][release.TABLE])
    assert "SAM attention runs as" in steps["release"]["notes"][0]
    gains = next(rows for title, rows in steps["matrix"]["tables"].items() if title.startswith("pruning"))
    assert {row["tokens"] for row in gains} == {12, 8, 4}
    page = (tmp_path / "results.md").read_text()
    assert all(f"## {step.title}" in page for step in command.STEPS)


@pytest.mark.slow
def test_another_model_is_measured_at_its_own_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "PHRASES", (2,))
    monkeypatch.setattr(release, "ROUNDS", 1)
    assert command.main(options(tmp_path, "--model", "lisa", "--only", "model", "release", "float8")) == 0
    steps = read(tmp_path)
    assert {row["tokens"] for row in steps["release"]["tables"][release.TABLE]} == {5, 16}
    assert "LISA `small` with random weights" in (tmp_path / "results.md").read_text()


@pytest.mark.slow
def test_a_deadline_leaves_the_first_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A hundredth of a step's least seconds counts at the small size."""
    seconds = "0.08"
    assert command.main(options(tmp_path, "--seconds", seconds, "--only", "sam", "environment", "float8")) == 0
    steps = read(tmp_path)
    assert list(steps) == ["environment", "float8", "sam"], "in their own order"
    assert steps["environment"]["status"] == "done"
    for name in ("float8", "sam"):
        assert steps[name]["status"] == "not run"
        assert steps[name]["reason"].startswith("deadline: about 0 s more are needed, 0 s are left")
    assert "== sam: not run" in capsys.readouterr().out


@pytest.mark.slow
def test_a_step_that_fails_on_purpose_spoils_the_exit_code_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(session: Session, found: Findings) -> None:
        raise RuntimeError("on purpose")

    steps = [
        Step(name=step.name, title=step.title, run=breaks, seconds=0) if step.name == "environment" else step
        for step in command.STEPS
    ]
    monkeypatch.setattr(command, "STEPS", steps)
    assert command.main(options(tmp_path, "--only", "environment", "formulations")) == 1
    found = read(tmp_path)
    assert found["environment"]["status"] == "failed"
    assert found["environment"]["reason"].endswith("RuntimeError: on purpose")
    assert found["formulations"]["status"] in ("done", "skipped")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_no_device_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--output", str(tmp_path)]) == 2
    assert "no CUDA device is here" in capsys.readouterr().err
    assert not (tmp_path / "results.json").exists()


def test_a_version_without_races_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litelvlm.engine.race", None)
    session = Session("small", torch.device("cpu"), tmp_path, 10)
    with pytest.raises(Skipped, match=r"^no formulations in this version$"):
        formulations.run(session, Findings(title="races"))


def test_races_are_told_candidate_by_candidate(
    small_contest: Contest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raced = {"fastest": "b", "candidates": {"a": {"ms": 2.0, "error": 0.0}, "b": {"ms": 1.0, "error": 0.01}}}
    failed = {"fastest": "c", "candidates": {"c": {"ms": 3.0, "error": 0.0}, "d": {"failed": "no kernel"}}}
    compiled = {"fastest": "compiled", "candidates": {"compiled": {"ms": 0.5, "error": 0.0}}}
    races = {"race_sam": lambda model: raced, "race_llama": lambda model: failed, "race_clip": lambda model: compiled}
    module = SimpleNamespace(**races)
    monkeypatch.setitem(sys.modules, "litelvlm.engine.race", module)
    session = Session("small", torch.device("cpu"), tmp_path, 60)
    with pytest.raises(Skipped, match="CUDA device alone"):
        formulations.run(session, Findings(title="races"))
    session.device = torch.device("cuda")
    monkeypatch.setattr(small_contest.annotator, "formulation", "sam=b,llama=c", raising=False)
    session.contest, found = small_contest, Findings(title="races")
    formulations.run(session, found)
    assert found.facts == {"chosen at load": "sam=b,llama=c"}
    assert found.tables["candidates"] == [
        {"part": "sam", "formulation": "a", "ms": 2.0, "error": 0.0, "taken": False},
        {"part": "sam", "formulation": "b", "ms": 1.0, "error": 0.01, "taken": True},
        {"part": "llama", "formulation": "c", "ms": 3.0, "error": 0.0, "taken": True},
        {"part": "llama", "formulation": "d", "failed": "no kernel", "taken": False},
        {"part": "clip", "formulation": "compiled", "ms": 0.5, "error": 0.0, "taken": True},
    ]
    monkeypatch.setitem(sys.modules, "litelvlm.engine.race", SimpleNamespace(race_sam=lambda model: raced))
    older = Findings(title="races")
    formulations.run(session, older)
    assert [row["part"] for row in older.tables["candidates"]] == ["sam", "sam"]


def test_parity_names_the_cases_that_do_not_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"case": "good", "same_tokens": True, "least_iou": 1.0, "mean_iou": 1.0, "prompt_error": 1e-6},
        {"case": "off", "same_tokens": True, "least_iou": 0.99, "mean_iou": 1.0, "prompt_error": 1e-6},
        {"case": "other tokens", "same_tokens": False, "least_iou": 1.0, "mean_iou": 1.0, "prompt_error": 1e-6},
        {"case": "other prompts", "same_tokens": True, "least_iou": 1.0, "mean_iou": 1.0, "prompt_error": 2e-3},
    ]
    seen = []

    def compare(session: Session, dtype: str, cases: Any) -> Any:
        seen.append((dtype, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return [dict(row) for row in rows]

    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    monkeypatch.setattr(parity, "compare", compare)
    found = Findings(title="parity")
    with pytest.raises(AssertionError, match=r"release: off, other tokens, other prompts$"):
        parity.run(Session("small", torch.device("cpu"), tmp_path, 10), found)
    assert seen == [("float32", False, False), ("bfloat16", *before)]
    assert found.facts["cases that match in float32"] == "1 of 4"
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before
