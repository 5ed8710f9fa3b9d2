"""The race of SAM's formulations runs, compares them with the plain one, and writes what it found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import sam_attention
from benchmarks.sam_attention import BATCHES, SMALL, figures, line, main, race

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile"),
]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[Any]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_every_formulation_answers_alike_and_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sam_attention, "BATCHES", (2,))
    main(["--rounds", "1", "--results", str(tmp_path)])
    content = json.loads((tmp_path / "sam_attention_cpu.json").read_text())
    rows = content["rows"]
    names = [(row["formulation"], row["compiled"], row["batch"]) for row in rows]
    assert names == [(name, compiled, 2) for name in ("plain", "folded", "flex") for compiled in (False, True)]
    assert all(row["max_error"] <= 1e-4 * row["largest"] for row in rows), rows
    assert any(row["max_error"] > 0 for row in rows if row["formulation"] != "plain")
    assert all(row["images_per_s"] > 0 and row["mfu"] is None for row in rows)
    assert content["hardware"]["device"] == "none" or torch.cuda.is_available()
    assert content["tflop_per_image"] > 0
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_what_fails_has_a_row_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    monkeypatch.setattr(sam_attention.FoldedSamEncoder, "__call__", broken)  # type: ignore[attr-defined]
    rows = race(SMALL, torch.device("cpu"), torch.float32, 1, rounds=1, backend="eager")
    by_name = {(row["formulation"], row["compiled"]): row for row in rows}
    assert by_name["folded", False]["error"] == "OutOfMemoryError: CUDA out of memory."
    assert "ms" not in by_name["folded", False]
    assert by_name["plain", True]["ms"] > 0
    assert line(by_name["folded", False]).endswith("CUDA out of memory.")


def test_utilisation_is_work_over_time_and_peak() -> None:
    found = figures([0.05, 0.04, 0.2], 4, 6e12, 800e12)
    assert found == {"ms": 50.0, "spread_ms": [40.0, 200.0], "images_per_s": 80.0, "mfu": 0.6}
    assert BATCHES == (1, 4, 8)
