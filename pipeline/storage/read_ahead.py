"""Loading many small objects, a few ahead of what is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_READ_AHEAD = 4


def read_ahead(load: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Load items in threads, in order, a few ahead of what is used."""
    remaining = iter(items)
    with ThreadPoolExecutor(_READ_AHEAD) as pool:
        pending = [pool.submit(load, item) for item in islice(remaining, _READ_AHEAD)]
        while pending:
            result = pending.pop(0).result()
            pending.extend(pool.submit(load, item) for item in islice(remaining, 1))
            yield result
