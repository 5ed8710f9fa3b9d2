"""Counting attempts and bisecting: deaths are played by exceptions, storage is real."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.shards.attempts import MAX_KILLS, Guard, new_session, prior_kills
from litelvlm.pipeline.storage.store import Storage


class Death(Exception):
    """The worker died."""


def survive(storage: Storage, units: int, poison: set[int], *, batch: int = 1, tries: int = 60) -> Any:
    """Retry, as Ray does, until an attempt survives. Returns its outcome and the number of deaths."""
    session = new_session()

    def process(part: range) -> list[int]:
        if poison & set(part):
            raise Death
        return list(part)

    for deaths in range(tries):
        guard = Guard(storage=storage, session=session, stage="decode", shard_id="s1")
        try:
            return list(guard.run(units, process, batch=batch)), deaths
        except Death:
            continue
    raise AssertionError("it never ended")


@pytest.mark.slow
@pytest.mark.parametrize("poison", [set(), {0}, {5}, {63}, {7, 8}, {0, 31, 32, 63}])
@pytest.mark.parametrize("batch", [1, 16])
def test_poison_is_given_up_and_nothing_else(tmp_path: Path, poison: Any, batch: int) -> None:
    outcome, deaths = survive(Storage(str(tmp_path)), 64, poison, batch=batch)
    units = [unit for part, _ in outcome for unit in part]
    given_up = {unit for part, result in outcome if result is None for unit in part}
    assert units == list(range(64))
    assert given_up == poison
    assert all(result == list(part) for part, result in outcome if result is not None)
    assert (deaths >= MAX_KILLS) == bool(poison)


class LaggingStorage(Storage):
    """Its listings never show anything."""

    def list(self, directory: str) -> list[str]:
        return []


def test_poison_is_found_although_listings_lag(tmp_path: Path) -> None:
    outcome, _ = survive(LaggingStorage(str(tmp_path)), 32, {5, 20}, batch=16)
    assert [part.start for part, result in outcome if result is None] == [5, 20]


@pytest.mark.slow
@pytest.mark.parametrize("units", [1, 2, 3, 17])
def test_it_ends_when_everything_is_poison(tmp_path: Path, units: int) -> None:
    outcome, _ = survive(Storage(str(tmp_path)), units, set(range(units)), batch=4, tries=200)
    assert [result for _, result in outcome] == [None] * units


def test_without_deaths_there_is_one_attempt(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    outcome, deaths = survive(storage, 5, set())
    assert (outcome, deaths) == ([(range(5), [0, 1, 2, 3, 4])], 0)
    assert len(storage.list("_attempts")) == 1


def test_healthy_batches_stay_whole_around_poison(tmp_path: Path) -> None:
    outcome, _ = survive(Storage(str(tmp_path)), 64, {20}, batch=16)
    parts = [part for part, _ in outcome]
    assert range(0, 16) in parts
    assert all(part.start % 16 == 0 for part in parts if len(part) >= 16)


def test_the_last_attempt_of_a_dead_session_proves_nothing(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    for session, attempts in (("first", 2), ("second", 1), ("third", 1), ("fourth", 3)):
        for number in range(1, attempts + 1):
            storage.create_exclusive(f"_attempts/s1/decode/all/{session}.{number}", b"")
    assert prior_kills(storage) == {"s1": {"decode": 3}}


def test_deaths_of_earlier_sessions_count(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    guard = Guard(storage=storage, session="now", stage="decode", shard_id="s1", prior_kills=MAX_KILLS)
    outcome = list(guard.run(4, list, batch=1))
    assert [part for part, _ in outcome] == [range(0, 2), range(2, 4)]


def test_a_part_is_counted_and_tried_while_no_other_call_can_die(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    events: list[str] = []

    @contextlib.contextmanager
    def alone() -> Iterator[None]:
        before = len(storage.list("_attempts"))
        yield
        events.append(f"{len(storage.list('_attempts')) - before} objects")  # the attempt, and that it survived

    guard = Guard(storage=storage, session="now", stage="decode", shard_id="s1", prior_kills=MAX_KILLS, alone=alone)
    assert [result for _, result in guard.run(2, list, batch=1)] == [[0], [1]]
    assert events == ["2 objects", "2 objects"]
