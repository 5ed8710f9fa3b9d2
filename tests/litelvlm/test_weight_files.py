"""Weight files: tensors one at a time; damage and code are refused."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from litelvlm import Annotator
from litelvlm.weight_files import iter_shapes, iter_tensors
from tests.litelvlm.checkpoint_copies import read_state, save_single
from tests.parity.fixtures import CLIP_TINY


class _Malice:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch pwned",)


def test_pickled_code_is_refused_and_never_runs(
    glamm_copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model.norm.weight": _Malice()}, glamm_copy / "pytorch_model.bin")
    with pytest.raises(ValueError, match="could run code"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)
    (glamm_copy / "pytorch_model.bin").write_bytes(pickle.dumps(_Malice()))
    with pytest.raises(ValueError, match=r"pytorch_model\.bin"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "header",
    [b"", b"\xff" * 8, (2**62).to_bytes(8, "little") + b"{}", (64).to_bytes(8, "little") + b'{"a":' * 12 + b"    "],
    ids=["empty", "huge length", "larger than the file", "not JSON"],
)
def test_damaged_safetensors_are_a_clear_error(glamm_copy: Path, header: bytes) -> None:
    (glamm_copy / "pytorch_model.bin").unlink()
    (glamm_copy / "model.safetensors").write_bytes(header)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)


def test_lying_safetensors_header_is_refused(glamm_copy: Path) -> None:
    state = {name: tensor.contiguous() for name, tensor in read_state(glamm_copy).items()}
    save_single(glamm_copy, state)
    path = glamm_copy / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["model.norm.weight"]["shape"] = [2**40]
    lie = json.dumps(header).encode()
    path.write_bytes(len(lie).to_bytes(8, "little") + lie + data[8 + length :])
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)


def test_compressed_and_sparse_pickles_are_refused(glamm_copy: Path) -> None:
    path = glamm_copy / "pytorch_model.bin"
    with zipfile.ZipFile(path) as stored:
        records = {name: stored.read(name) for name in stored.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in records.items():
            packed.writestr(name, content)
    with pytest.raises(ValueError, match="is compressed"):
        Annotator.from_pretrained(glamm_copy, clip=CLIP_TINY)
    torch.save({"model.norm.weight": torch.eye(3).to_sparse()}, path)
    with pytest.raises(ValueError, match="dense tensors"):
        list(iter_shapes([path]))


def test_both_forms_yield_the_same_tensors_and_shapes_of_all_files(tmp_path: Path) -> None:
    first, second = {"a": torch.arange(6.0).reshape(2, 3)}, {"b": torch.ones(1, dtype=torch.bfloat16)}
    save_file(first, tmp_path / "first.safetensors")
    torch.save(second, tmp_path / "second.bin")
    paths = [tmp_path / "first.safetensors", tmp_path / "second.bin"]
    found = dict(iter_tensors(paths))
    assert list(found) == ["a", "b"]
    assert torch.equal(found["a"], first["a"])
    assert (found["b"].dtype, found["b"].tolist()) == (torch.bfloat16, [1.0])
    assert list(iter_shapes(paths)) == [("a", (2, 3)), ("b", (1,))]


@pytest.mark.parametrize("content", [[torch.ones(2)], {"a": 3}, {3: torch.ones(2)}], ids=["list", "number", "name"])
def test_what_is_no_named_tensor_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.bin")
    with pytest.raises(ValueError, match=r"model\.bin: holds something other than named"):
        list(iter_shapes([tmp_path / "model.bin"]))
