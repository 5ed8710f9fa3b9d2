"""Float8's step where the device has none, and the race of two precisions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.full_size import SIZES, Contest, random_annotator
from benchmarks.gpu import float8
from benchmarks.gpu.session import Findings, Session, Skipped


def test_a_device_without_float8_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session("small", torch.device("cpu"), tmp_path, 10)
    session.device = torch.device("cuda")

    def refuses(device: torch.device) -> None:
        raise ValueError("dtype: float8 needs compute capability 8.9 or higher")

    monkeypatch.setattr(float8, "check_float8", refuses)
    with pytest.raises(Skipped, match=r"8\.9 or higher"):
        float8.run(session, Findings(title="float8"))


@pytest.mark.slow
def test_both_precisions_answer_in_turns(
    small_contest: Contest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other precision is bfloat16 here."""
    session = Session("small", torch.device("cpu"), tmp_path, 60)
    session.contest = small_contest
    monkeypatch.setattr(float8, "_ROUNDS", 1)
    found = Findings(title="float8")
    with random_annotator(SIZES["small"], torch.device("cpu"), "bfloat16") as narrow:
        float8.measure_speed(session, found, narrow)
    rows = found.tables["phrases a second"]
    assert [(row["phrases_per_image"], row["layout"]) for row in rows] == list(float8.SETTINGS)
    for row in rows:
        assert row["tokens"] == SIZES["small"].budgets[0]
        assert row["speed_up"] == pytest.approx(row["float8"] / row["bfloat16"], abs=2e-3)
