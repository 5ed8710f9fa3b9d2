"""A line every half minute while nothing is committed: what the run waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

import ray

from litelvlm.pipeline.preflight import LINE_S

_POLL_S = 1.0


class Paced:
    """Says what it is called with, a line every `line_s` seconds at most."""

    def __init__(self, say: Callable[[str], None], line_s: float = LINE_S) -> None:
        self._say, self._line_s = say, line_s
        self._last = time.monotonic()

    def __call__(self, line: str) -> None:
        if time.monotonic() - self._last >= self._line_s:
            self._last = time.monotonic()
            self._say(line)


class Heartbeat:
    """A context manager around an execution; `beat` says that it goes on.

    Args:
        say: takes a line.
        num_actors: that the run asks for at least.
        line_s: seconds of silence before a line.
    """

    def __init__(self, say: Callable[[str], None], *, num_actors: int, line_s: float = LINE_S) -> None:
        self._say, self._num_actors, self._line_s = say, num_actors, line_s
        self._last = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join(timeout=10)

    def beat(self) -> None:
        """A shard was committed."""
        self._last = time.monotonic()

    def _watch(self) -> None:
        while not self._ended.wait(min(_POLL_S, self._line_s)):
            if time.monotonic() - self._last >= self._line_s:
                self._say(standing(self._num_actors))
                self._last = time.monotonic()


def standing(num_actors: int) -> str:
    """What an execution that commits nothing waits for, in words."""
    ready = _ready_actors()
    has, free = ray.cluster_resources(), ray.available_resources()
    cluster = ", ".join(f"{free.get(name, 0.0):g} {name} free of {has.get(name, 0.0):g}" for name in ("CPU", "GPU"))
    if ready is not None and ready < num_actors:
        return f"waiting for {num_actors - ready} of {num_actors} actors: the cluster has {cluster}"
    return f"waiting for the next shard: all {num_actors} actors are ready; the cluster has {cluster}"


def _ready_actors() -> int | None:
    """Actors of this job that have started; None where Ray does not tell."""
    from ray._private.state import actors

    try:
        found = actors(job_id=ray.JobID.from_hex(ray.get_runtime_context().get_job_id())).values()
        return sum(one["State"] == "ALIVE" and "MapWorker" in one["ActorClassName"] for one in found)
    except Exception:  # noqa: BLE001 - a private call, for a line of text: the run goes on without
        return None
