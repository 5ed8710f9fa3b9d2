"""Objects come in order, a few are loaded ahead, and no more than that."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from litelvlm.pipeline.storage.read_ahead import read_ahead


def test_results_come_in_the_order_of_the_items_whichever_is_loaded_first() -> None:
    second_done = threading.Event()

    def load(item: int) -> int:
        if item == 0:
            assert second_done.wait(5)  # which needs a thread beside this one
        elif item == 1:
            second_done.set()
        return item * item

    assert list(read_ahead(load, range(20))) == [item * item for item in range(20)]


def test_an_endless_input_is_taken_a_few_at_a_time() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        while True:
            taken.append(len(taken))
            yield taken[-1]

    results = read_ahead(str, items())
    assert taken == []
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    assert len(taken) == 4 + 3
    results.close()  # type: ignore[attr-defined]


def test_an_error_comes_at_its_place() -> None:
    results = read_ahead(lambda item: 1 // item, [1, 1, 0, 1])
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_nothing_to_load_is_nothing() -> None:
    assert list(read_ahead(str, [])) == []
