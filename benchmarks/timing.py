"""Seconds of repeated calls, by the wall clock and by the device's own, without a wait between calls."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Call = Callable[[int], Any]  # of a round's number


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one call, the mean over a run of them.

    Attributes:
        wall_s: until the device has done all.
        host_s: until the last call has returned.
        device_s: between CUDA events around the run; None on a CPU.
    """

    wall_s: float
    host_s: float
    device_s: float | None


def time_calls(calls: Sequence[Callable[[], Any]], device: torch.device) -> Timing:
    """Times a run of calls, one behind the other; the device is waited for ahead of the first and after the last."""
    on_gpu = device.type == "cuda"
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if on_gpu else []
    wait_for(device)
    start = time.perf_counter()
    if on_gpu:
        events[0].record()
    for call in calls:
        call()
    if on_gpu:
        events[1].record()
    returned = time.perf_counter()
    wait_for(device)
    ended, count = time.perf_counter(), len(calls)
    return Timing(
        wall_s=(ended - start) / count,
        host_s=(returned - start) / count,
        device_s=events[0].elapsed_time(events[1]) / 1000 / count if on_gpu else None,
    )


def take_turns(contestants: Mapping[str, Call], device: torch.device, rounds: int) -> dict[str, list[Timing]]:
    """Timings of each, round by round in turns; round 0 warms up and is not among them."""
    found: dict[str, list[Timing]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, call in contestants.items():
            timing = time_calls([functools.partial(call, number)], device)
            if number:
                found[name].append(timing)
    return found


def time_kernel(call: Callable[[], Any], device: torch.device, *, calls: int, rounds: int = 3) -> Timing:
    """The median round of a short piece of work that is called many times in a run, warmed up."""
    call()
    found = [time_calls([call] * calls, device) for _ in range(rounds)]
    return sorted(found, key=lambda timing: timing.wall_s)[rounds // 2]


def median_wall_s(timings: Iterable[Timing]) -> float:
    """The median over rounds."""
    return statistics.median(timing.wall_s for timing in timings)


def median_device_s(timings: Sequence[Timing]) -> float | None:
    """The same by the device's clock, where it has one."""
    seconds = [timing.device_s for timing in timings if timing.device_s is not None]
    return statistics.median(seconds) if seconds else None


def wait_for(device: torch.device) -> None:
    """Until the device has done what is queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
