"""CPUs that a process may use: its affinity and its control group's quota, not those of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from litelvlm.pipeline import cpus
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("150000 100000\n", 2), ("50000 100000\n", 1), ("max 100000\n", 6), ("800000 100000\n", 6), ("x", 6), ("1 0", 6)],
)
def test_a_quota_of_the_control_group_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, expected: int
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(cpus, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert cpus.num_usable() == expected


def test_without_a_control_group_the_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "_QUOTA", tmp_path / "gone")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert cpus.num_usable() == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpus.num_usable() == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="of Linux")
def test_a_process_that_is_bound_to_one_cpu_uses_one() -> None:
    code = (
        "import os\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from litelvlm.pipeline.cpus import num_usable\n"
        "print(num_usable())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
