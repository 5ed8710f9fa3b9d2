"""Kernels belong to the stage whose range on their stream they lie in; operators to the stage that called them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._C._autograd import DeviceType

from benchmarks.full_size import Contest
from benchmarks.gpu import trace
from benchmarks.gpu.session import Findings, Session


def kernel(name: str, start: float, end: float, stream: int = 7) -> Any:
    time_range = SimpleNamespace(start=start, end=end)
    return SimpleNamespace(name=name, device_type=DeviceType.CUDA, time_range=time_range, device_resource_id=stream)


def test_kernels_are_added_up_by_stage() -> None:
    events = [
        kernel("stage sam", 0, 5000),
        kernel("stage llm", 5000, 9000),
        kernel("stage masks", 0, 9000, stream=8),
        kernel("gemm", 100, 2100),
        kernel("gemm", 3000, 4000),
        kernel("gemm", 5500, 6000),
        kernel("nonzero", 1000, 1500, stream=8),
        kernel("copy", 9500, 9600),
        SimpleNamespace(name="aten::mm", device_type=DeviceType.CPU),
    ]
    found = trace.by_stage(events, on_device=True)
    assert found == {
        "sam": {"gemm": (3.0, 2)},
        "llm": {"gemm": (0.5, 1)},
        "masks": {"nonzero": (0.5, 1)},
        "no stage": {"copy": (pytest.approx(0.1), 1)},
    }


def test_a_call_on_a_cpu_is_traced_by_its_operators(small_contest: Contest, tmp_path: Path) -> None:
    session = Session("small", torch.device("cpu"), tmp_path, 60)
    session.contest = small_contest
    found = Findings(title="trace")
    trace.run(session, found)
    stages = {title.partition(":")[0] for title in found.tables}
    assert stages >= {"clip", "prune", "llm", "sam", "decode_masks", "masks"}
    names = {row["kernel"] for title, rows in found.tables.items() if title.startswith("llm") for row in rows}
    assert any(name in names for name in ("aten::mm", "aten::addmm")), names
    for rows in found.tables.values():
        assert rows == sorted(rows, key=lambda row: -row["ms_an_image"])
        assert all(0 <= row["share"] <= 1 and row["calls"] >= 1 for row in rows)
    assert "stage" not in vars(small_contest.annotator._clock), "the clock is as it was"
