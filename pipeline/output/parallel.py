"""The same work for many items, beside each other on Ray where it runs, handed over in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2  # items for each CPU that are under way or done and not fetched yet


def ordered(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Results of a function, in the order of the items. A single item is worked on here, as are all without Ray.

    Both travel between processes, so they are to be few and large. What the function raises is raised here.
    """
    import ray

    remaining = iter(items)
    first = list(islice(remaining, 2))
    if len(first) < 2 or not ray.is_initialized():
        yield from map(function, first)
        yield from map(function, remaining)
        return
    task: Any = ray.remote(num_cpus=1)(_outcome)
    most = max(2, round(_AHEAD * ray.cluster_resources().get("CPU", 1.0)))
    function_ref = ray.put(function)
    under_way = deque(task.remote(function_ref, item) for item in [*first, *islice(remaining, most - 2)])
    while under_way:
        result, error = ray.get(under_way.popleft())
        if error is not None:
            raise error
        under_way.extend(task.remote(function_ref, item) for item in islice(remaining, 1))
        yield cast(R, result)


def _outcome(function: Callable[[T], R], item: T) -> tuple[R | None, Exception | None]:
    """In a task. An error comes back as it is: Ray would wrap it into one of its own."""
    try:
        return function(item), None
    except Exception as error:  # noqa: BLE001 - raised again by the driver
        return None, error
