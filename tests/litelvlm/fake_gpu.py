"""Tensors without values that say they are on a GPU: mixing devices or dtypes raises, a kernel is never run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Tensors that are made meanwhile have no values."""
    with torch.inference_mode(), FakeTensorMode():
        yield


def on_gpu(value: Any) -> Any:
    """A tensor, a module in place, or a dataclass of them, moved there without its values."""
    if isinstance(value, Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="cuda")
    if isinstance(value, nn.Module):
        for module in value.modules():
            for name, param in module._parameters.items():
                module._parameters[name] = None if param is None else nn.Parameter(on_gpu(param), requires_grad=False)
            module._buffers = {name: on_gpu(buffer) for name, buffer in module._buffers.items()}
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: on_gpu(getattr(value, field.name)) for field in fields(value)})
    return value
