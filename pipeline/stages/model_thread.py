"""A model whose work all happens on one thread of its process.

OpenMP keeps a pool of workers for every thread that computes. Once there are more workers than cores, they sleep
between operations instead of waiting awake, and the shipped model takes 1.5 times as long (measured on two cores).
An actor's calls come on several threads, so they hand their work to one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

from litelvlm.pipeline.stages.engine import Engine

E = TypeVar("E", bound=Engine)

_COMPUTING = ("annotator", "annotate", "encode", "answer")
_ITERATING = "annotate_each"


def on_one_thread(engine: E) -> E:
    """The engine, which does what it does on one thread of its own. Errors come back to the caller."""
    return cast(E, _ModelThread(engine))


class _ModelThread:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._engine, name)
        if name == _ITERATING:
            return functools.partial(self._iterate, attribute)
        return functools.partial(self._run, attribute) if name in _COMPUTING else attribute

    def _iterate(self, call: Callable[..., Iterator[Any]], *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Every step on the thread, and the end of it, too."""
        found = self._run(call, *args, **kwargs)
        try:
            while (one := self._run(next, found, None)) is not None:
                yield one
        finally:
            self._run(found.close)

    def _run(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self._thread.submit(call, *args, **kwargs).result()
