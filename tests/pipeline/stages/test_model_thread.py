"""All of a model's work on one thread."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from litelvlm.pipeline.stages.model_thread import on_one_thread
from tests.fakes import FakeEngine
from tests.pipeline.samples import picture


class WatchedEngine:
    """Notes on which thread it is called."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.threads: list[int] = []
        self.annotate_each: Any = self.engine.annotate_each

    def __getattr__(self, name: Any) -> Any:
        return getattr(self.engine, name)

    def annotator(self, num_threads: Any) -> Any:
        self.threads.append(threading.get_ident())
        return self.engine.annotator(num_threads)

    def annotate(self, *args: Any, **kwargs: Any) -> Any:
        self.threads.append(threading.get_ident())
        return self.engine.annotate(*args, **kwargs)


def test_calls_of_many_threads_compute_on_one() -> None:
    watched = WatchedEngine()
    engine = on_one_thread(watched)
    annotator = engine.annotator(2)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(engine.annotate, annotator, [picture(n)], [["a dog"]]) for n in range(20)]
        results = [call.result()[0] for call in calls]
    assert len(watched.threads) == 21
    assert len(set(watched.threads)) == 1
    assert threading.get_ident() not in watched.threads
    assert [result.rgb.tolist() for result in results] == [picture(n).tolist() for n in range(20)]


def test_errors_come_back_and_the_thread_goes_on() -> None:
    engine = on_one_thread(FakeEngine(break_on="a bad phrase"))
    annotator = engine.annotator(None)
    with pytest.raises(RuntimeError, match="the engine broke on a bad phrase"):
        engine.annotate(annotator, [picture(0)], [["a bad phrase"]])
    assert len(engine.annotate(annotator, [picture(0)], [["a dog"]])) == 1


def test_every_step_of_calls_one_after_another_is_on_the_thread() -> None:
    watched = WatchedEngine()
    engine = on_one_thread(watched)
    steps: list[int] = []

    def annotate_each(annotator: Any, calls: Any) -> Any:
        try:
            for call in calls:
                steps.append(threading.get_ident())
                yield watched.annotate(annotator, *call)
        finally:
            steps.append(threading.get_ident())

    watched.annotate_each = annotate_each
    calls, annotator = [([picture(n)], [["a dog"]]) for n in range(3)], engine.annotator(1)
    found = engine.annotate_each(annotator, calls)
    assert len(next(found)) == 1
    found.close()
    assert len(steps) == 2, "it ends where the reader stops"
    assert len(list(engine.annotate_each(annotator, calls))) == 3
    assert set(steps) | set(watched.threads) == {watched.threads[0]}


def test_what_does_not_compute_is_the_engines_own() -> None:
    assert on_one_thread(FakeEngine()).revision() == FakeEngine().revision()
