"""Batches: alone where nobody else waits, together where others do, each with its own answer."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from litelvlm.pipeline.serving.batcher import Batcher


@dataclass
class Work:
    """Doubles numbers, in batches that wait for `go`. Breaks on 13, and answers too few where there is a 17."""

    go: threading.Event = field(default_factory=threading.Event)
    batches: list[list[int]] = field(default_factory=list)

    def __call__(self, numbers: list[int]) -> list[int]:
        self.batches.append(numbers)
        assert self.go.wait(10)
        if 13 in numbers:
            raise ValueError("unlucky")
        return [2 * one for one in numbers if one != 17]


def ask_all(work: Work, numbers: list[int], *, who_leaves: int | None = None) -> list[object]:
    """Answers and exceptions to numbers that are asked while 0 is at work, in batches of 4, and then to 100."""

    async def run() -> list[object]:
        with ThreadPoolExecutor(1) as thread:
            batcher = Batcher(work, thread, max_size=4)
            tasks = [asyncio.create_task(batcher.ask(0))]
            while not work.batches:
                await asyncio.sleep(0)
            tasks += [asyncio.create_task(batcher.ask(one)) for one in numbers]
            await asyncio.sleep(0)
            if who_leaves is not None:
                tasks[1 + numbers.index(who_leaves)].cancel()
            work.go.set()
            return [*await asyncio.gather(*tasks, return_exceptions=True), await batcher.ask(100)]

    return asyncio.run(run())


def test_what_waits_while_a_batch_runs_is_the_next_one() -> None:
    work = Work()
    assert ask_all(work, [1, 2, 3, 4, 5, 6]) == [0, 2, 4, 6, 8, 10, 12, 200]
    assert work.batches == [[0], [1, 2, 3, 4], [5, 6], [100]]


def test_an_error_is_told_to_its_batch_alone() -> None:
    work = Work()
    found = ask_all(work, [1, 13, 3, 4, 5])
    assert [type(one) for one in found] == [int, *[ValueError] * 4, int, int]


def test_too_few_answers_are_nobody_s() -> None:
    found = ask_all(Work(), [1, 17])
    assert [type(one) for one in found] == [int, RuntimeError, RuntimeError, int]


def test_whoever_has_gone_is_not_worked_for() -> None:
    work = Work()
    found = ask_all(work, [1, 2, 3], who_leaves=2)
    assert isinstance(found[2], asyncio.CancelledError)
    assert work.batches == [[0], [1, 3], [100]]
    assert [found[at] for at in (0, 1, 3, 4)] == [0, 2, 6, 200]
