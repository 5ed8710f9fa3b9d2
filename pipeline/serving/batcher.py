"""What waits while a batch runs is the next batch: nobody waits for company, and nobody runs alone beside others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class Batcher(Generic[Q, A]):
    """Runs batches one behind the other. Belongs to one event loop.

    Serve's own `batch` closes a batch as soon as its first question is there, whether or not the last one has ended.

    Args:
        work: answers a batch, an answer each, in order.
        executor: where it runs.
        max_size: of a batch.
    """

    def __init__(self, work: Callable[[list[Q]], Sequence[A]], executor: Executor, max_size: int) -> None:
        self._work, self._executor, self._max_size = work, executor, max_size
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._running: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """An answer, in a batch with others'. Raises what the batch raises."""
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while batch := self._next():
                try:
                    answers = await loop.run_in_executor(self._executor, self._work, [one for one, _ in batch])
                    if len(answers) != len(batch):
                        raise RuntimeError(f"{len(answers)} answers to {len(batch)} questions")
                except Exception as error:  # noqa: BLE001 - each of those who asked is told
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                else:
                    for (_, future), answer in zip(batch, answers, strict=True):
                        if not future.done():
                            future.set_result(answer)
        finally:
            self._running = None

    def _next(self) -> list[tuple[Q, asyncio.Future[A]]]:
        """The next batch, without those who have gone."""
        self._waiting = [one for one in self._waiting if not one[1].done()]
        batch, self._waiting = self._waiting[: self._max_size], self._waiting[self._max_size :]
        return batch
