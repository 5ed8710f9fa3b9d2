"""Reading tensors from checkpoint directories: safetensors or weights-only `.bin`, whole or sharded, one at a time.

Nothing is ever unpickled beyond what `torch.load(weights_only=True)` admits, and no file outside the directory is
opened, whatever an index file says.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")
INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def weight_paths(directory: Path) -> list[Path]:
    """The weight files of a checkpoint directory, safetensors preferred.

    Raises:
        FileNotFoundError: if there are none, or an index names one that is not there.
        ValueError: if an index is malformed or points outside the directory.
    """
    for single, index in zip(SINGLE_FILES, INDEX_FILES, strict=True):
        if (directory / single).is_file():
            return [directory / single]
        if (directory / index).is_file():
            return _indexed_paths(directory, index)
    names = ", ".join(SINGLE_FILES + INDEX_FILES)
    raise FileNotFoundError(f"no weights in {directory}: expected one of {names}")


def iter_tensors(paths: list[Path]) -> Iterator[tuple[str, Tensor]]:
    """Yields each tensor with its name, memory-mapped where the format allows: only what is read takes memory.

    Raises:
        ValueError: if a file is damaged, or holds anything but tensors.
    """
    for path in paths:
        yield from _iter_safetensors(path) if path.suffix == ".safetensors" else _iter_pickled(path)


def iter_shapes(paths: list[Path]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes alone; of safetensors only the headers are read."""
    for path in paths:
        if path.suffix == ".safetensors":
            with _open_safetensors(path) as file:
                for name in file.keys():  # noqa: SIM118 - safe_open is not a dict
                    yield name, tuple(file.get_slice(name).get_shape())
        else:
            for name, tensor in _iter_pickled(path):
                yield name, tuple(tensor.shape)


def read_json(path: Path) -> dict:
    """A JSON object from a file; ValueError that names the file if it is anything else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: must hold a JSON object")
    return values


def _indexed_paths(directory: Path, index: str) -> list[Path]:
    weight_map = read_json(directory / index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{directory / index}: lacks weight_map")
    names = set(weight_map.values())
    outside = [name for name in names if not isinstance(name, str) or Path(name).name != name or "\\" in name]
    if outside:
        raise ValueError(f"{directory / index}: points outside the directory: {outside[0]!r}")
    paths = [directory / name for name in sorted(names)]
    absent = [path.name for path in paths if not path.is_file()]
    if absent:
        raise FileNotFoundError(f"{directory / index} names files that are not there: {', '.join(absent)}")
    return paths


def _open_safetensors(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error


def _iter_safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    with _open_safetensors(path) as file:
        for name in file.keys():  # noqa: SIM118 - safe_open is not a dict
            yield name, file.get_tensor(name)


def _iter_pickled(path: Path) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in _load_pickled(path).items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"{path}: holds something other than named tensors")
        yield name, tensor


def _load_pickled(path: Path) -> dict:
    try:
        values = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: refused, it holds more than tensors and could run code when loaded") from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is not a PyTorch weight file: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: holds something other than named tensors")
    return values


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"
