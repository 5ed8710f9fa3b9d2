"""Guards, the deadline, and what is on disk after each step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu.session import Findings, Session, Skipped, Step

CPU = torch.device("cpu")


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session(tmp_path: Path, clock: Clock) -> Session:
    session = Session("full", CPU, tmp_path / "out", 100, clock)
    return session


def step(name: str, run: Callable[[Session, Findings], None], seconds: float = 1) -> Step:
    return Step(name=name, title=f"Step {name}", run=run, seconds=seconds)


def on_disk(session: Session) -> Any:
    return json.loads((session.output / "results.json").read_text())["steps"]


@pytest.mark.slow
def test_a_step_that_fails_is_written_down_and_the_next_one_runs(session: Session) -> None:
    def breaks(session: Session, found: Findings) -> None:
        found.facts["before"] = 1
        raise RuntimeError("CUDA error: an illegal memory access")

    def sees(session: Session, found: Findings) -> None:
        found.facts["seen"] = on_disk(session)["breaks"]["status"]
        assert on_disk(session)["sees"]["status"] == "running"

    assert not session.run([step("breaks", breaks), step("sees", sees)])
    steps = on_disk(session)
    assert steps["breaks"]["status"] == "failed"
    assert steps["breaks"]["reason"].endswith("RuntimeError: CUDA error: an illegal memory access")
    assert "in breaks" in steps["breaks"]["reason"], "the end of the traceback says where"
    assert steps["breaks"]["facts"] == {"before": 1}
    assert steps["sees"] == steps["sees"] | {"status": "done", "facts": {"seen": "failed"}}
    page = (session.output / "results.md").read_text()
    assert "| Step breaks | failed |" in page
    assert "illegal memory access" in page


@pytest.mark.slow
def test_what_would_not_end_in_time_is_not_begun(session: Session, clock: Clock) -> None:
    def takes(session: Session, found: Findings) -> None:
        clock.now += 60

    assert session.run([step("one", takes, 50), step("two", takes, 50), step("three", takes, 30)])
    steps = on_disk(session)
    assert [steps[name]["status"] for name in ("one", "two", "three")] == ["done", "not run", "done"]
    assert steps["two"]["reason"] == "deadline: about 50 s more are needed, 40 s are left"
    assert steps["one"]["seconds"] == 60


@pytest.mark.slow
def test_a_long_loop_stops_ahead_of_the_deadline_and_keeps_its_rows(session: Session, clock: Clock) -> None:
    def loops(session: Session, found: Findings) -> None:
        for number in range(10):
            session.require(30)
            clock.now += 30
            found.rows("turns").append({"number": number})

    assert session.run([step("loops", loops)])
    found = on_disk(session)["loops"]
    assert found["status"] == "stopped"
    assert [row["number"] for row in found["tables"]["turns"]] == [0, 1, 2]
    assert "### turns" in (session.output / "results.md").read_text()


@pytest.mark.slow
def test_a_step_may_say_that_it_cannot_run_here(session: Session) -> None:
    def skips(session: Session, found: Findings) -> None:
        raise Skipped("this device has no float8")

    assert session.run([step("skips", skips)])
    assert on_disk(session)["skips"] == on_disk(session)["skips"] | {
        "status": "skipped", "reason": "this device has no float8",
    }  # fmt: skip


@pytest.mark.slow
def test_files_are_replaced_as_a_whole(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.run([step("good", lambda session, found: None)])
    before = (session.output / "results.json").read_text()

    def cut_off(self: Path, text: str, **options: Any) -> int:
        with self.open("w") as file:
            file.write(text[: len(text) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", cut_off)
    with pytest.raises(KeyboardInterrupt):
        session.write()
    assert (session.output / "results.json").read_text() == before


def test_nothing_catches_an_interruption(session: Session) -> None:
    def interrupted(session: Session, found: Findings) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.run([step("interrupted", interrupted), step("never", lambda session, found: None)])
    assert list(on_disk(session)) == ["interrupted"]


@pytest.mark.slow
def test_small_models_take_a_small_share_of_the_time(tmp_path: Path) -> None:
    session = Session("small", CPU, tmp_path, 1)
    assert session.run([step("short", lambda session, found: None, 50)])
    assert on_disk(session)["short"]["status"] == "done"
