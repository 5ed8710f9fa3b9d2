"""What a device reaches at its best in the same run: matrix products, and copies in its own memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.timing import time_kernel

_SIDE, _COPY_BYTES = {"cuda": 8192, "cpu": 768}, {"cuda": 4 * 2**30, "cpu": 64 * 2**20}
_CALLS = {"cuda": 10, "cpu": 3}


@dataclass(frozen=True, kw_only=True)
class MatrixPeak:
    """Of square products of random numbers, side by side.

    Attributes:
        flop_per_s: operations a second; side: of the matrices; dtype: of their numbers.
    """

    flop_per_s: float
    side: int
    dtype: str


def matrix_peak(device: torch.device) -> MatrixPeak:
    """bfloat16 on a GPU, where 8192-cubed products run at their best; float32 on a CPU."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    side = _SIDE[device.type]
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(one)
    seconds = time_kernel(lambda: torch.mm(one, other, out=out), device, calls=_CALLS[device.type])
    return MatrixPeak(
        flop_per_s=2 * side**3 / (seconds.device_s or seconds.wall_s),
        side=side,
        dtype=str(dtype).removeprefix("torch."),
    )


def copy_bytes_per_s(device: torch.device) -> float:
    """Bytes a second of a copy within the device's memory, read and written ones together."""
    source = torch.empty(_COPY_BYTES[device.type], dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)
    seconds = time_kernel(lambda: target.copy_(source), device, calls=_CALLS[device.type])
    return 2 * source.numel() / (seconds.device_s or seconds.wall_s)
