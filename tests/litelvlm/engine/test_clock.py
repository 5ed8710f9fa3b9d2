"""Seconds of stages, on a clock that a test turns."""

from __future__ import annotations

import time

import pytest
import torch

from litelvlm.engine.clock import STAGES, StageClock


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the host's clock says: one entry that tests set."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_seconds_of_a_stage_add_up_and_others_stay_at_nothing(turn: list[float]) -> None:
    clock = StageClock(torch.device("cpu"))
    for lasting in (2.0, 0.5):
        with clock.stage("sam"):
            turn[0] += lasting
        turn[0] += 7  # between stages nobody counts
    assert clock.seconds() == {**dict.fromkeys(STAGES, 0.0), "sam": 2.5}


def test_a_reading_is_a_copy(turn: list[float]) -> None:
    clock = StageClock(torch.device("cpu"))
    clock.seconds()["llm"] = 9.0
    assert clock.seconds()["llm"] == 0.0


class Event:
    """A CUDA event of a device that has got as far as a test lets it; a second lies between records."""

    recorded = 0
    reached = 0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        Event.recorded += 1
        self.at = Event.recorded

    def query(self) -> bool:
        return self.at <= Event.reached

    def synchronize(self) -> None:
        raise AssertionError("the host waits for the device")

    def elapsed_time(self, end: Event) -> float:
        return 1000.0 * (end.at - self.at)


def test_on_a_gpu_nobody_waits_and_what_still_runs_is_counted_once_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    Event.recorded = Event.reached = 0
    clock = StageClock(torch.device("cuda"))
    with clock.stage("llm"), clock.stage("clip"):  # events 1 to 4: llm, clip, clip, llm
        pass
    assert not any(clock.seconds().values())
    Event.reached = 3
    assert (clock.seconds()["llm"], clock.seconds()["clip"]) == (0.0, 1.0)
    Event.reached = 4
    assert (clock.seconds()["llm"], clock.seconds()["clip"]) == (3.0, 1.0)  # milliseconds become seconds, once
