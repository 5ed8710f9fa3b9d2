"""Work beside each other comes back in order, its content on demand, and its errors as they are."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.output.parallel import Kept, Tasks


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.ray)])
def beside(request: pytest.FixtureRequest) -> bool:
    if request.param:
        request.getfixturevalue("local_ray")
    return bool(request.param)


def process_of(number: int, *, fails_at: int = -1) -> tuple[tuple[int, int], str, bytes]:
    time.sleep(0.02 * (3 - number % 3))  # later ones are done first
    if number == fails_at:
        raise DataError(f"{number} is damaged")
    return (number, os.getpid()), f"text {number}", bytes(number)


def write(directory: Path, number: int, text: Kept[str]) -> None:
    if number == 7:
        raise DataError("the disk is full")
    (directory / str(number)).write_text(f"{text.get()} from {os.getpid()}")


@pytest.mark.slow
def test_results_are_in_order_with_what_they_keep(beside: bool) -> None:
    found = list(Tasks(beside=beside).ordered(process_of, range(20), num_kept=2))
    assert [number for (number, _), _, _ in found] == list(range(20))
    assert [(text.get(), data.get()) for _, text, data in found] == [(f"text {n}", bytes(n)) for n in range(20)]
    assert ({process for (_, process), _, _ in found} == {os.getpid()}) == (not beside)


def test_what_is_said_alone_keeps_nothing(beside: bool) -> None:
    assert list(Tasks(beside=beside).ordered(lambda item: (2 * item,), [1, 2, 3], num_kept=0)) == [(2,), (4,), (6,)]
    assert list(Tasks(beside=beside).ordered(lambda item: (item,), [], num_kept=0)) == []


def test_an_error_is_raised_in_its_place_as_it_is(beside: bool) -> None:
    results = Tasks(beside=beside).ordered(partial(process_of, fails_at=5), range(30), num_kept=2)
    assert [next(results)[0][0] for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match=r"^5 is damaged$"):
        next(results)


@pytest.mark.slow
def test_content_goes_from_task_to_task(tmp_path: Path, beside: bool) -> None:
    tasks = Tasks(beside=beside)
    for (number, _), text, _ in tasks.ordered(process_of, range(7), num_kept=2):
        tasks.begin(write, tmp_path, number, text)
    tasks.finish()
    written = [(tmp_path / str(number)).read_text().partition(" from ") for number in range(7)]
    assert [text for text, _, _ in written] == [f"text {number}" for number in range(7)]
    assert ({int(process) for _, _, process in written} == {os.getpid()}) == (not beside)


def test_an_error_of_what_was_begun_ends_the_work(tmp_path: Path, beside: bool) -> None:
    tasks = Tasks(beside=beside)

    def begin_many() -> None:
        for (number, _), text, _ in tasks.ordered(process_of, range(6, 30), num_kept=2):
            tasks.begin(write, tmp_path, number, text)
        tasks.finish()

    with pytest.raises(DataError, match=r"^the disk is full$"):
        begin_many()
    assert len(list(tmp_path.iterdir())) < 23
