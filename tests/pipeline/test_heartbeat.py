"""A line while nothing is committed."""

from __future__ import annotations

import time

import pytest

from litelvlm.pipeline import heartbeat
from litelvlm.pipeline.heartbeat import Heartbeat, Paced, standing


@pytest.mark.slow
def test_silence_is_broken_by_a_line_and_work_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "standing", lambda num_actors: f"waiting for {num_actors}")
    lines: list[str] = []
    with Heartbeat(lines.append, num_actors=2, line_s=0.2) as heart:
        for _ in range(10):
            time.sleep(0.03)
            heart.beat()
        assert lines == []
        time.sleep(0.7)
    told = len(lines)
    assert 1 <= told <= 4
    assert set(lines) == {"waiting for 2"}
    time.sleep(0.4)
    assert len(lines) == told, "it goes on after its end"


@pytest.mark.slow
def test_a_line_now_and_then_however_much_there_is_to_say() -> None:
    lines: list[str] = []
    paced = Paced(lines.append, line_s=0.2)
    for number in range(30):
        time.sleep(0.02)
        paced(f"{number} are read")
    assert 1 <= len(lines) <= 3
    assert lines[0] != "0 are read", "what is over in a moment says nothing"


@pytest.mark.usefixtures("local_ray")
def test_what_is_waited_for_is_told_in_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    told = standing(3)
    assert told.startswith("waiting for 3 of 3 actors: the cluster has ")
    assert " CPU free of 4, 0 GPU free of 0" in told
    monkeypatch.setattr(heartbeat, "_ready_actors", lambda: 3)
    assert standing(3).startswith("waiting for the next shard: all 3 actors are ready; ")
