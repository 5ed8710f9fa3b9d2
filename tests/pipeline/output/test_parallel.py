"""Work beside each other comes back in order, and its errors as they are."""

from __future__ import annotations

import os
import time
from functools import partial

import pytest
import ray

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.output.parallel import ordered


def process_of(number: int, *, fails_at: int = -1) -> tuple[int, int]:
    time.sleep(0.02 * (3 - number % 3))  # later ones are done first
    if number == fails_at:
        raise DataError(f"{number} is damaged")
    return number, os.getpid()


def test_without_ray_it_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert list(ordered(process_of, range(4))) == [(number, os.getpid()) for number in range(4)]


@pytest.mark.usefixtures("local_ray")
def test_results_are_in_order_and_from_other_processes() -> None:
    found = list(ordered(process_of, range(30)))
    assert [number for number, _ in found] == list(range(30))
    assert os.getpid() not in {process for _, process in found}


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("items", [[], [1]])
def test_little_is_done_here(items: list[int]) -> None:
    assert list(ordered(process_of, items)) == [(number, os.getpid()) for number in items]


@pytest.mark.usefixtures("local_ray")
def test_an_error_is_raised_in_its_place_as_it_is() -> None:
    results = ordered(partial(process_of, fails_at=5), range(30))
    assert [next(results)[0] for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match=r"^5 is damaged$"):
        next(results)
