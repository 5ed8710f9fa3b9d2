"""The time line of an actor's device: every second of it goes to exactly one shard and to exactly one kind.

An actor has one device, and several calls in flight of which one at a time holds the device. From the actor's
construction on, each second is of one of `HELD_KINDS`:

* `startup`: the actor was being built; the model was loaded.
* `idle`: the device was free and no call was in the actor. It was starved.
* `host`: the device was free though some call was in the actor: host work on the critical path.
* any other: a call held the device for this.

Seconds in which the device was held are the holder's. Seconds in which it was free go to the shard that takes the
device next, or that ends first.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class DeviceClock:
    """The clock of one actor; it starts when it is made.

    Args:
        monotonic: seconds from any start, for durations.
        epoch: seconds since the epoch, read once.
    """

    def __init__(
        self, *, monotonic: Callable[[], float] = time.perf_counter, epoch: Callable[[], float] = time.time
    ) -> None:
        self.device = threading.Lock()  # to have the device for oneself
        self._books = threading.Lock()
        self.monotonic = monotonic
        self._now = self._free_since = monotonic()
        self._epoch_of_zero = epoch() - self._now
        self._ready = False
        self._num_calls = 0
        self._free_s: dict[str, float] = defaultdict(float)  # of nobody yet
        self._holder: tuple[DeviceShare, str] | None = None

    def ready(self) -> None:
        """The actor is built."""
        with self._books:
            self._advance()
            self._ready = True

    @contextmanager
    def call(self) -> Iterator[None]:
        """A call is in the actor."""
        with self._books:
            self._advance()
            self._num_calls += 1
        try:
            yield
        finally:
            with self._books:
                self._advance()
                self._num_calls -= 1

    def take(self, share: DeviceShare, kind: str) -> None:
        """`share` has the device from now on. The caller holds `device`."""
        with self._books:
            self._advance()
            self._claim(share)
            self._holder = (share, kind)

    def give_back(self) -> None:
        """The device is free from now on."""
        with self._books:
            self._advance()
            self._holder, self._free_since = None, self._now

    def settle(self, share: DeviceShare) -> None:
        """The shard has ended; what lies between the last use of the device and now is its own."""
        with self._books:
            self._advance()
            if self._holder is None:
                self._claim(share)

    def _advance(self) -> None:
        before, self._now = self._now, self.monotonic()
        if self._holder is None:
            kind = "startup" if not self._ready else "host" if self._num_calls else "idle"
            self._free_s[kind] += self._now - before
        else:
            share, kind = self._holder
            share.note(kind, self._now - before, self._epoch_of_zero + before, self._epoch_of_zero + self._now)

    def _claim(self, share: DeviceShare) -> None:
        for kind, seconds in self._free_s.items():
            share.note(kind, seconds, self._epoch_of_zero + self._free_since, self._epoch_of_zero + self._now)
        self._free_s.clear()
        self._free_since = self._now


class DeviceShare:
    """One shard's share of the device's time.

    Attributes:
        seconds: by kind.
        started_at, ended_at: seconds since the epoch between which these lie; 0 while there are none.
    """

    def __init__(self, clock: DeviceClock) -> None:
        self.seconds: dict[str, float] = {}
        self.started_at = self.ended_at = 0.0
        self._clock = clock
        self._holds = False

    @contextmanager
    def hold(self, kind: str) -> Iterator[None]:
        """Have the device for oneself; its seconds are of this kind, or of the outermost where it is held already."""
        if self._holds:
            yield
            return
        with self._clock.device:
            self._clock.take(self, kind)
            self._holds = True
            try:
                yield
            finally:
                self._holds = False
                self._clock.give_back()

    def now(self) -> float:
        """Seconds of the clock, for durations."""
        return self._clock.monotonic()

    def settle(self) -> None:
        """The shard has ended."""
        self._clock.settle(self)

    def note(self, kind: str, seconds: float, started_at: float, ended_at: float) -> None:
        """Seconds of the device that are this shard's."""
        self.seconds[kind] = self.seconds.get(kind, 0.0) + seconds
        self.started_at = min(self.started_at or started_at, started_at)
        self.ended_at = max(self.ended_at, ended_at)
