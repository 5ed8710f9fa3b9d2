"""Which files of a directory are read, and that none outside it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from litelvlm.checkpoint import open_checkpoint
from litelvlm.checkpoint_files import MAX_JSON_BYTES, read_json, weight_paths
from tests.litelvlm.checkpoint_copies import LFS_POINTER
from tests.parity.fixtures import CLIP_TINY


@pytest.mark.parametrize(
    "target", [".", "..", "a:b.bin", "a\x00.bin", ["x"], "../secret.bin", "/etc/passwd", "a/b.bin", "..\\x.bin", 7]
)
def test_an_index_cannot_point_outside(glamm_copy: Path, target: object) -> None:
    (glamm_copy / "pytorch_model.bin").unlink()
    index = {"weight_map": {"model.norm.weight": target}}
    (glamm_copy / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="outside"):
        open_checkpoint(glamm_copy, CLIP_TINY)


def test_safetensors_come_before_pickles_and_single_files_before_an_index(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    assert weight_paths(tmp_path) == [tmp_path / "pytorch_model.bin"]
    for part in ("b.safetensors", "a.safetensors"):
        (tmp_path / part).touch()
    weight_map = {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert weight_paths(tmp_path) == [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    (tmp_path / "model.safetensors").touch()
    assert weight_paths(tmp_path) == [tmp_path / "model.safetensors"]


@pytest.mark.parametrize("index", ["{}", '{"weight_map": []}', '{"weight_map": {}}'])
def test_an_index_without_a_map_is_refused(tmp_path: Path, index: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ValueError, match="lacks weight_map"):
        weight_paths(tmp_path)


def test_a_file_that_an_index_names_and_nobody_copied_is_named(tmp_path: Path) -> None:
    (tmp_path / "here.bin").touch()
    weight_map = {"x": "here.bin", "y": "gone.bin"}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(FileNotFoundError, match=r"names files that are not there: gone\.bin$"):
        weight_paths(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_pointer_of_git_lfs_is_told_from_weights(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(LFS_POINTER)
    with pytest.raises(ValueError, match=rf"{name} is a Git LFS pointer, not the file itself: run `git lfs pull`"):
        weight_paths(tmp_path)
    (tmp_path / name).rename(tmp_path / "a.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "a.safetensors"}}))
    with pytest.raises(ValueError, match=r"a\.safetensors is a Git LFS pointer"):
        weight_paths(tmp_path)
    with pytest.raises(ValueError, match="is a Git LFS pointer"):
        read_json(tmp_path / "a.safetensors")


def test_a_directory_without_weights_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights in .*model\.safetensors, pytorch_model\.bin"):
        weight_paths(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[1]", "must hold a JSON object"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 99_999, "is not JSON"),
    ],
    ids=["a list", "cut off", "no text", "deep"],
)
def test_what_is_no_json_object_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"config\.json:? {reason}"):
        read_json(tmp_path / "config.json")


def test_json_of_absurd_size_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(MAX_JSON_BYTES + 1)
    with pytest.raises(ValueError, match="is larger than 67108864 bytes"):
        read_json(path)
