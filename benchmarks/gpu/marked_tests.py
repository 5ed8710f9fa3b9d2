"""Every test marked `gpu`, in this process, where pytest is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.session import Findings, OutOfTime, Session, Skipped

ROOT = Path(__file__).resolve().parents[2]
_SHOWN = 400  # characters of a failure
_MARK = "mark.gpu"


def run(session: Session, found: Findings) -> None:
    """Runs them and notes each one's outcome.

    Raises:
        AssertionError: if any failed.
    """
    if importlib.util.find_spec("pytest") is None:
        raise Skipped("pytest is not installed")
    files = marked_files(ROOT / "tests")
    if not files:
        raise Skipped("no test is marked gpu in this version")
    if session.device.type != "cuda":
        raise Skipped("tests marked gpu need a CUDA device")
    run_files(session, found, files)


def marked_files(folder: Path) -> list[Path]:
    """Test files that mention the mark; no other is imported, since it may need more than is here."""
    return [path for path in sorted(folder.rglob("test_*.py")) if _MARK in path.read_text(encoding="utf-8")]


def run_files(session: Session, found: Findings, files: list[Path], *options: str) -> None:
    """Runs tests marked `gpu` in these files, and stops ahead of the deadline.

    Raises:
        AssertionError: if any failed, or none ran.
        OutOfTime: if the deadline came first.
    """
    import pytest

    watch = _Watch(session, found)
    with torch.inference_mode(False):
        code = pytest.main(["-q", "-m", "gpu", "-p", "no:cacheprovider", *options, *map(str, files)], plugins=[watch])
    counts = {name: sum(row["outcome"] == name for row in watch.rows) for name in ("passed", "failed", "skipped")}
    found.facts |= counts | {"pytest's exit code": int(code)}
    if watch.stopped and not counts["failed"]:
        raise OutOfTime("deadline: it came before the last test")
    assert code == pytest.ExitCode.OK, f"pytest ended with {int(code)}: {counts}"


class _Watch:
    """Notes outcomes and stops at the deadline."""

    def __init__(self, session: Session, found: Findings) -> None:
        self._session, self.rows, self.stopped = session, found.rows("tests"), False

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            reason = "" if report.outcome == "passed" else str(report.longrepr)[-_SHOWN:]
            self.rows.append({
                "test": report.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 2),
                "reason": reason,
            })  # fmt: skip

    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> None:
        if self._session.seconds_left <= 0:
            self.stopped, item.session.shouldstop = True, "the deadline"
