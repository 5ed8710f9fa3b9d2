"""Between host and device, without either waiting for the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def on_device(values: Sequence[int] | np.ndarray, device: torch.device) -> Tensor:
    """Values on the device: int64 of a sequence, an array in its own dtype."""
    host = torch.from_numpy(values) if isinstance(values, np.ndarray) else torch.tensor(values, dtype=torch.int64)
    return (host.pin_memory() if device.type == "cuda" else host).to(device, non_blocking=True)


class NamedCopies:
    """Tensors on their way to the host, behind the device's work that makes them."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._copies = {name: tensor.to("cpu", non_blocking=True) for name, tensor in tensors.items()}
        self._made = torch.cuda.Event() if any(tensor.is_cuda for tensor in tensors.values()) else None
        if self._made is not None:
            self._made.record()

    def wait(self) -> dict[str, np.ndarray]:
        """The arrays by name, when they are there."""
        if self._made is not None:
            self._made.synchronize()
        return {name: copy.numpy() for name, copy in self._copies.items()}
