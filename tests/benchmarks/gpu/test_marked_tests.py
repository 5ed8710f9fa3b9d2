"""Tests marked `gpu` are found by their text and run in this process, until the deadline."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.gpu.marked_tests import ROOT, marked_files, run, run_files
from benchmarks.gpu.session import Findings, OutOfTime, Session, Skipped

OPTIONS = ("-p", "no:randomly", "-p", "no:xdist", "-W", "ignore")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: on a device\n")
    return tmp_path


def session_of(folder: Path, seconds: float = 60) -> Session:
    return Session("small", torch.device("cpu"), folder / "out", seconds)


def write(folder: Path, name: str, body: str) -> Path:
    path = folder / f"test_{name}.py"
    path.write_text(f"import pytest\n\n@pytest.mark.gpu\n{body}")
    return path


def run_in(folder: Path, session: Session, found: Findings) -> None:
    files = marked_files(folder)
    run_files(session, found, files, *OPTIONS, f"--rootdir={folder}", f"-c{folder / 'pytest.ini'}")


@pytest.mark.slow
def test_only_files_that_mention_the_mark_are_imported(folder: Path) -> None:
    (folder / "test_other.py").write_text("import nothing_of_this_name\n")
    marked = write(folder, "marked_one", "def test_a(): pass\n\ndef test_unmarked(): assert False\n")
    found = Findings(title="tests")
    assert marked_files(folder) == [marked]
    run_in(folder, session_of(folder), found)
    assert found.facts == {"passed": 1, "failed": 0, "skipped": 0, "pytest's exit code": 0}
    (row,) = found.tables["tests"]
    assert row["outcome"] == "passed"


@pytest.mark.slow
def test_a_failure_is_told_with_its_reason(folder: Path) -> None:
    write(folder, "failing_one", "def test_a(): assert 1 == 2, 'not equal'\n")
    found = Findings(title="tests")
    with pytest.raises(AssertionError, match="pytest ended with 1"):
        run_in(folder, session_of(folder), found)
    assert "not equal" in found.tables["tests"][0]["reason"]


@pytest.mark.slow
def test_a_file_that_cannot_be_imported_is_no_success(folder: Path) -> None:
    write(folder, "broken_one", "def test_a(: pass\n")
    with pytest.raises(AssertionError, match="pytest ended with"):
        run_in(folder, session_of(folder), Findings(title="tests"))


@pytest.mark.slow
def test_the_deadline_stops_it(folder: Path) -> None:
    write(folder, "late_one", "def test_a(): pass\n\n@pytest.mark.gpu\ndef test_b(): pass\n")
    found = Findings(title="tests")
    with pytest.raises(OutOfTime):
        run_in(folder, session_of(folder, seconds=0), found)
    assert len(found.tables["tests"]) <= 1


def test_this_project_marks_some_and_a_cpu_skips_them(tmp_path: Path) -> None:
    assert ROOT / "tests/benchmarks/test_timing.py" in marked_files(ROOT / "tests")
    with pytest.raises(Skipped, match="CUDA"):
        run(session_of(tmp_path), Findings(title="tests"))
