"""Run lengths are timed on blobs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.gpu import masks
from benchmarks.gpu.session import Findings, OutOfTime, Session


def test_blobs_have_few_runs_and_each_size_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "SIZES_HW", {"small": (48, 64), "wide": (60, 240)})
    found = Findings(title="masks")
    masks.run(Session("small", torch.device("cpu"), tmp_path, 60), found)
    rows = found.tables["milliseconds a mask"]
    assert [row["size"] for row in rows] == ["small", "wide"]
    for row, columns in zip(rows, (64, 240), strict=True):
        assert row["find"] > 0
        assert row["encode"] > 0
        assert 2 < row["runs"] < 4 * columns


def test_the_deadline_holds_between_sizes(tmp_path: Path) -> None:
    with pytest.raises(OutOfTime):
        masks.run(Session("small", torch.device("cpu"), tmp_path, 0.5), Findings(title="masks"))
