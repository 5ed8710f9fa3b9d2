"""Work beside each other in Ray tasks: results in order, content that stays where it was made until a task wants it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from litelvlm.pipeline.errors import RunError

T = TypeVar("T")

_AHEAD = 2  # items for each CPU that are under way or done and not fetched yet


@dataclass(frozen=True)
class Kept(Generic[T]):
    """Content that a task has left in the cluster's object store, or here where there was no task."""

    _content: Any
    _is_here: bool

    def get(self) -> T:
        """The content."""
        if self._is_here:
            here: T = self._content
            return here
        import ray

        there: T = ray.get(self._content)
        return there


class Tasks:
    """Runs functions in Ray tasks, each on a CPU of its own; without `beside` here and at once.

    What goes from process to process should be little in number and large. What a function raises is raised here as it
    is, by whatever is called next.
    """

    def __init__(self, *, beside: bool) -> None:
        self._beside = beside
        self._begun: deque[Any] = deque()

    def ordered(self, function: Callable[[T], tuple[Any, ...]], items: Iterable[T], num_kept: int) -> Iterator[Any]:
        """What a function says of each item, in their order.

        The function returns what it says, which comes here, and `num_kept` contents, which are yielded with it as
        `Kept`.
        """
        if not self._beside:
            for item in items:
                said, *contents = function(item)
                yield (said, *(Kept(content, True) for content in contents))
            return
        import ray

        remaining = iter(items)
        task: Any = ray.remote(num_cpus=1, num_returns=1 + num_kept)(_said_and_kept)
        function_ref = ray.put(function)

        def submit(number: int) -> list[Any]:
            new = [task.remote(function_ref, item, num_kept) for item in islice(remaining, number)]
            return new if num_kept else [[ref] for ref in new]

        under_way = deque(submit(_AHEAD * self._num_cpus()))
        while under_way:
            said_ref, *kept_refs = under_way.popleft()
            said = _outcome(said_ref)
            under_way.extend(submit(1))
            yield (said, *(Kept(ref, False) for ref in kept_refs))

    def begin(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have something done; wait while there is as much to do as there are CPUs."""
        if not self._beside:
            function(*arguments)
            return
        import ray

        while len(self._begun) >= self._num_cpus():
            self._end_one()
        self._begun.append(ray.remote(num_cpus=1)(_done).remote(function, arguments))

    def finish(self) -> None:
        """Wait until everything that was begun is done."""
        while self._begun:
            self._end_one()

    def _end_one(self) -> None:
        _outcome(self._begun.popleft())

    def _num_cpus(self) -> int:
        import ray

        return max(1, round(ray.cluster_resources().get("CPU", 1.0)))


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of so many items, in order; the last may be shorter."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk


def _outcome(ref: Any) -> Any:
    """What a task says; what it raised is raised here."""
    import ray

    try:
        said, error = ray.get(ref)
    except ray.exceptions.RayError as lost:  # after Ray tried again and again
        reason = (str(lost).strip().splitlines() or [type(lost).__name__])[0]
        raise RunError(f"merging: a task was lost each time it was tried: {reason}") from lost
    if error is not None:
        raise error
    return said


def _said_and_kept(function: Callable[[T], tuple[Any, ...]], item: T, num_kept: int) -> Any:
    """In a task. An error comes back as it is: Ray would wrap it into one of its own."""
    try:
        said, *contents = function(item)
        outcome: tuple[Any, Exception | None] = said, None
    except Exception as error:  # noqa: BLE001 - raised again by the driver
        outcome, contents = (None, error), [None] * num_kept
    return (outcome, *contents) if num_kept else outcome


def _done(function: Callable[..., None], arguments: tuple[Any, ...]) -> tuple[None, Exception | None]:
    """In a task, likewise."""
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001 - raised again by the driver
        return None, error
    return None, None
