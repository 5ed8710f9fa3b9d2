"""Copies of the tiny checkpoint in other forms, and damaged ones."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

#: What Git leaves of a large file where Git LFS is not there.
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 13500000000\n"


def read_state(directory: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(directory / "pytorch_model.bin", weights_only=True)
    return state


def save_single(directory: Path, state: dict[str, torch.Tensor]) -> None:
    (directory / "pytorch_model.bin").unlink()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, directory / "model.safetensors")


def save_sharded(directory: Path, state: dict[str, torch.Tensor], suffix: str) -> None:
    (directory / "pytorch_model.bin").unlink()
    names = sorted(state)
    halves = [names[::2], names[1::2]]
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    weight_map: dict[str, str] = {}
    for number, half in enumerate(halves, start=1):
        file = f"{stem}-{number:05}-of-00002.{suffix}"
        part = {name: state[name].contiguous() for name in half}
        save_file(part, directory / file) if suffix == "safetensors" else torch.save(part, directory / file)
        weight_map |= dict.fromkeys(half, file)
    (directory / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": weight_map}))


def edit_config(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
