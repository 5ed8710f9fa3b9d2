"""Turns, warm-up, and what is timed."""

from __future__ import annotations

import functools
import time

import pytest
import torch

from benchmarks.peaks import copy_bytes_per_s, matrix_peak
from benchmarks.timing import Timing, median_device_s, median_wall_s, take_turns, time_calls, time_kernel

CPU = torch.device("cpu")


def test_contestants_take_turns_and_the_first_turn_does_not_count() -> None:
    order: list[tuple[str, int]] = []

    def call(name: str, number: int) -> None:
        order.append((name, number))

    found = take_turns({name: functools.partial(call, name) for name in "ab"}, CPU, 2)
    assert order == [(name, number) for number in range(3) for name in "ab"]
    assert {name: len(timings) for name, timings in found.items()} == {"a": 2, "b": 2}


def test_a_call_takes_its_share_of_a_run() -> None:
    timing = time_calls([lambda: time.sleep(0.02)] * 3, CPU)
    assert 0.02 <= timing.host_s <= timing.wall_s < 0.1
    assert timing.device_s is None


def test_a_kernel_is_warmed_up_and_the_median_round_counts() -> None:
    calls: list[float] = []
    timing = time_kernel(lambda: calls.append(0), CPU, calls=4)
    assert len(calls) == 1 + 3 * 4
    assert timing.wall_s < 0.01


def test_medians() -> None:
    timings = [Timing(wall_s=wall, host_s=0, device_s=device) for wall, device in ((1.0, 0.5), (9.0, 0.1), (2.0, 0.3))]
    assert median_wall_s(timings) == 2
    assert median_device_s(timings) == 0.3
    assert median_device_s([Timing(wall_s=1, host_s=0, device_s=None)]) is None


@pytest.mark.slow
def test_peaks_are_of_this_device() -> None:
    peak = matrix_peak(CPU)
    assert peak.dtype == "float32"
    assert 1e8 < peak.flop_per_s < 1e13
    assert 1e8 < copy_bytes_per_s(CPU) < 1e13


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_is_timed_by_its_own_clock() -> None:
    device = torch.device("cuda")
    one = torch.randn(4096, 4096, device=device)
    timing = time_calls([lambda: one @ one] * 5, device)
    assert timing.device_s is not None
    assert 0 < timing.device_s <= 1.05 * timing.wall_s
