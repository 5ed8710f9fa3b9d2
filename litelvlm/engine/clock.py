"""Seconds spent in each stage, without making the host wait for the device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

STAGES = ("clip", "prune", "llm", "sam", "decode_masks", "masks")


class StageClock:
    """Adds up the seconds of each stage: host time on a CPU, device time (CUDA events) on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._on_device = device.type == "cuda"
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._pending: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times the block as part of stage `name`."""
        if not self._on_device:
            start = time.perf_counter()
            yield
            self._seconds[name] += time.perf_counter() - start
            return
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        yield
        end.record()
        self._pending.append((name, begin, end))

    def seconds(self) -> dict[str, float]:
        """Totals of what has run; nobody waits: on a GPU, what is still running is in a later reading."""
        running = []
        for name, begin, end in self._pending:
            if end.query():
                self._seconds[name] += begin.elapsed_time(end) / 1000
            else:
                running.append((name, begin, end))
        self._pending = running
        return dict(self._seconds)
