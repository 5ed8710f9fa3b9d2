"""The files of a checkpoint directory. No file outside it is ever opened, whatever an index says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")
# Far above what any checkpoint has: a JSON text grows tenfold and more when it is parsed.
MAX_JSON_BYTES = 64 * 2**20
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def weight_paths(directory: Path) -> list[Path]:
    """The weight files of a checkpoint directory, safetensors preferred.

    Raises:
        FileNotFoundError: if there are none, or an index names one that is not there.
        ValueError: if an index is malformed or points outside the directory.
    """
    for single, index in zip(SINGLE_FILES, INDEX_FILES, strict=True):
        if (directory / single).is_file():
            refuse_pointer(directory / single)
            return [directory / single]
        if (directory / index).is_file():
            return _indexed_paths(directory, index)
    names = ", ".join(SINGLE_FILES + INDEX_FILES)
    raise FileNotFoundError(f"no weights in {directory}: expected one of {names}")


def refuse_pointer(path: Path) -> None:
    """Raises ValueError for what Git leaves of a large file where Git LFS was not there when it was cloned."""
    with path.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise ValueError(
                f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` where it was cloned"
            )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; ValueError that names the file if it is anything else."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"{path}: is larger than {MAX_JSON_BYTES} bytes")
    refuse_pointer(path)
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
    names = list(weight_map.values())
    outside = [name for name in names if not isinstance(name, str) or not _is_file_name(name)]
    if outside:
        raise ValueError(f"{directory / index}: points outside the directory: {outside[0]!r}")
    paths = [directory / name for name in sorted(set(names))]
    absent = [path.name for path in paths if not path.is_file()]
    if absent:
        raise FileNotFoundError(f"{directory / index} names files that are not there: {', '.join(absent)}")
    for path in paths:
        refuse_pointer(path)
    return paths


def _is_file_name(name: str) -> bool:
    return Path(name).name == name and name not in (".", "..") and not any(char in name for char in "\\:\0")
