"""SAM's parts and the cuts of its attention, each timed; what fails has its reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.full_size import Contest
from benchmarks.gpu import sam
from benchmarks.gpu.session import Findings, Session

CPU = torch.device("cpu")


@pytest.fixture
def session(small_contest: Contest, tmp_path: Path) -> Session:
    session = Session("small", CPU, tmp_path, 60)
    session.contest = small_contest
    return session


def test_every_part_and_cut_has_a_row(session: Session) -> None:
    found = Findings(title="sam")
    sam.run(session, found)
    parts, windows, whole = found.tables.values()
    assert {row["part"] for row in parts} >= {"patch embedding", "GELU", "neck", "whole encoder, transformers'"}
    assert all(row["ms"] > 0 for row in parts)
    sides = session.size.config.sam.window_size, session.size.config.sam.grid_size
    for rows, side in zip((windows, whole), sides, strict=True):
        sizes = {row["cut"]: row["head_size"] for row in rows}
        assert sizes["no positions"] == sizes["bias matrix"] == 16
        assert sizes["folded"] == 16 + 2 * side
        assert sizes["folded, padded"] == 32
        assert all("error" in row or row["ms"] > 0 for row in rows)
        assert any("ms" in row for row in rows if row["cut"] == "folded")


def test_what_fails_has_its_reason(session: Session) -> None:
    def calls() -> Iterator[tuple[dict[str, Any], Any]]:
        def refuses() -> None:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

        yield {"part": "one"}, refuses
        yield {"part": "two"}, lambda: None

    rows: list[dict[str, Any]] = []
    sam._time_all(session, rows, calls())
    assert rows[0] == {"part": "one", "error": "OutOfMemoryError: CUDA out of memory."}
    assert rows[1]["part"] == "two"
    assert "ms" in rows[1]


def test_heads_of_the_published_sizes() -> None:
    """80 long; 108 and 208 with rows and columns of windows and of the whole grid."""
    for side, folded, padded in ((14, 108, 128), (64, 208, 256)):
        cuts = sam.attention_cuts(1, 1, side, 80, torch.float32, CPU)
        sizes = {names["cut"]: names["head_size"] for names, _ in cuts}
        assert sizes == {"no positions": 80, "folded": folded, "folded, padded": padded, "bias matrix": 80}
