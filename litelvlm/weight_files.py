"""Reading tensors from weight files, one at a time: safetensors, or `.bin` with weights only.

Nothing is ever unpickled beyond what `torch.load(weights_only=True)` admits.
"""

from __future__ import annotations

import contextlib
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

#: What the readers raise on files that are damaged, or made to look so.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)


def iter_tensors(paths: list[Path]) -> Iterator[tuple[str, Tensor]]:
    """Yields each tensor with its name, memory-mapped where the format allows: only what is read takes memory.

    Raises:
        ValueError: if a file is damaged, or holds anything but tensors.
    """
    for path in paths:
        yield from _iter_safetensors(path) if path.suffix == ".safetensors" else _iter_pickled(path)


def iter_shapes(paths: list[Path]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes alone; of safetensors only the headers are read. Raises as `iter_tensors` does."""
    for path in paths:
        if path.suffix == ".safetensors":
            with _safetensors_errors(path), safe_open(path, framework="pt", device="cpu") as file:
                for name in file.keys():  # noqa: SIM118 - safe_open is not a dict
                    yield name, tuple(file.get_slice(name).get_shape())
        else:
            for name, tensor in _iter_pickled(path):
                yield name, tuple(tensor.shape)


def _iter_safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    with _safetensors_errors(path), safe_open(path, framework="pt", device="cpu") as file:
        for name in file.keys():  # noqa: SIM118 - safe_open is not a dict
            yield name, file.get_tensor(name)


@contextlib.contextmanager
def _safetensors_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, *_DAMAGE) as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error


def _iter_pickled(path: Path) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in _load_pickled(path).items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise ValueError(f"{path}: holds something other than named, dense tensors")
        yield name, tensor


def _load_pickled(path: Path) -> dict[str, Any]:
    try:
        is_zip = _is_zip(path)
        if is_zip:
            _check_zip(path)
        values = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: refused, it holds more than tensors and could run code when loaded") from error
    except _DAMAGE as error:
        raise ValueError(f"{path} is not a PyTorch weight file: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: holds something other than named tensors")
    return values


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _check_zip(path: Path) -> None:
    """PyTorch stores its records as they are; a packed one would be inflated without a limit."""
    with zipfile.ZipFile(path) as archive:
        packed = [info.filename for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise ValueError(f"its record {packed[0]!r} is compressed")
