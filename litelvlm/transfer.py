"""Between host and device, without either waiting for the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ALIGNED = 16  # bytes, so that every array may be read in place whatever its dtype
_DTYPES = {np.dtype(np.int64): torch.int64, np.dtype(np.int32): torch.int32}


def on_device(values: Sequence[int] | np.ndarray, device: torch.device) -> Tensor:
    """Values on the device: int64 of a sequence, an array in its own dtype."""
    host = torch.from_numpy(values) if isinstance(values, np.ndarray) else torch.tensor(values, dtype=torch.int64)
    return (host.pin_memory() if device.type == "cuda" else host).to(device, non_blocking=True)


def all_on_device(arrays: Mapping[str, NDArray[Any]], device: torch.device) -> dict[str, Tensor]:
    """Vectors of int64 or int32 on the device, by name, in one copy."""
    starts, total = {}, 0
    for name, array in arrays.items():
        starts[name] = total
        total += -(-array.nbytes // _ALIGNED) * _ALIGNED
    together = np.zeros(total, dtype=np.uint8)
    for name, array in arrays.items():
        together[starts[name] : starts[name] + array.nbytes] = np.ascontiguousarray(array).view(np.uint8)
    sent = on_device(together, device)
    return {
        name: sent[starts[name] : starts[name] + array.nbytes].view(_DTYPES[array.dtype])
        for name, array in arrays.items()
    }


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
