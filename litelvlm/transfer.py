"""Between host and device, without either waiting for the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def on_device(values: Sequence[int] | np.ndarray, device: torch.device) -> Tensor:
    """Values on the device: int64 of a sequence, an array in its own dtype."""
    host = torch.from_numpy(values) if isinstance(values, np.ndarray) else torch.tensor(values, dtype=torch.int64)
    return (host.pin_memory() if device.type == "cuda" else host).to(device, non_blocking=True)


class HostCopies:
    """Tensors on their way to the host, behind the device's work that makes them."""

    def __init__(self, *tensors: Tensor) -> None:
        self._copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
        self._made = torch.cuda.Event() if any(tensor.is_cuda for tensor in tensors) else None
        if self._made is not None:
            self._made.record()

    def wait(self) -> list[np.ndarray]:
        """The arrays, when they are there."""
        if self._made is not None:
            self._made.synchronize()
        return [copy.numpy() for copy in self._copies]
