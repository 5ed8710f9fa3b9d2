"""Settings stop ahead of the deadline, longer ones are expected to take longer, and the yardstick says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.full_size import Contest
from benchmarks.gpu import release
from benchmarks.gpu.session import Findings, OutOfTime, Session


@pytest.fixture
def session(small_contest: Contest, tmp_path: Path) -> Session:
    session = Session("small", torch.device("cpu"), tmp_path, 60)
    session.contest = small_contest
    return session


def test_a_setting_that_would_end_too_late_stops_the_rest(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def expected(session: Session, budget: int, num_phrases: int, *rest: Any) -> float:
        asked.append(num_phrases)
        return 1e6 if num_phrases == 3 else 0.0

    monkeypatch.setattr(release, "expected_seconds", expected)
    found = Findings(title="release")
    with pytest.raises(OutOfTime):
        release.run_budget(session, found, 12, ("separate", "rounds"), with_loop=False)
    assert asked == [1, 3]
    assert [(row["phrases_per_image"], row["layout"]) for row in found.tables[release.TABLE]] == [
        (1, "separate"), (1, "rounds"),
    ]  # fmt: skip
    stages = found.tables["stages, ms an image"]
    assert [row["layout"] for row in stages] == ["separate", "rounds"]
    assert all(row["sam"] > 0 for row in stages)


def test_more_work_is_expected_to_take_longer(session: Session) -> None:
    one = release.expected_seconds(session, 12, 1, ["separate"], 0)
    assert 0 < one < release.expected_seconds(session, 12, 8, ["separate"], 0)
    assert one < release.expected_seconds(session, 36, 1, ["separate"], 0)
    assert one < release.expected_seconds(session, 12, 1, ["separate"], 1)


def test_the_rest_is_told_against_all_tokens_even_where_time_runs_out(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "PHRASES", (1,))
    row = {"phrases_per_image": 1, "layout": "separate", "phrases_per_s": 1.0, "needed_gflop_per_phrase": 0.1}
    main = [row | {"tokens": 36}, row | {"tokens": 12, "phrases_per_s": 2.0}]
    session.findings["release"] = Findings(title="release", tables={release.TABLE: main})
    monkeypatch.setattr(release, "expected_seconds", lambda *given: 1e6)
    found = Findings(title="matrix")
    with pytest.raises(OutOfTime):
        release.run_rest(session, found)
    ((title, gains),) = found.tables.items()
    assert title.startswith("pruning")
    assert gains == [
        {"phrases_per_image": 1, "tokens": 12, "layout": "separate", "measured": 2.0, "predicted": 1.0, "share": 2.0}
    ]


def test_the_yardstick_says_how_its_attention_runs(session: Session) -> None:
    assert "one fused call with its relative positions as a bias matrix" in release.describe_yardstick(session)
    encoder: Any = session.contest.annotator.model.grounding_encoder.image_encoder
    assert type(encoder.layers[0].attn).__name__ in release.describe_yardstick(session)
