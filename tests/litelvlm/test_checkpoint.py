"""Finding a checkpoint and reading its configuration, before any weight."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from litelvlm.checkpoint import open_checkpoint, resolve_model
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY


def test_resolve_model_knows_the_demo() -> None:
    assert (resolve_model("demo") / "config.json").is_file()


def test_absent_files_are_named(glamm_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such directory"):
        open_checkpoint(tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        open_checkpoint(tmp_path / "bare")
    (glamm_copy / "pytorch_model.bin").unlink()
    with pytest.raises(FileNotFoundError, match="no weights"):
        open_checkpoint(glamm_copy, CLIP_TINY)


def test_another_models_config_is_refused(glamm_copy: Path) -> None:
    with pytest.raises(ValueError, match=r"config\.json says CLIPModel; known are GLaMM \(GLaMMForCausalLM\)"):
        open_checkpoint(CLIP_TINY)
    with pytest.raises(ValueError, match="mm_hidden_size"):
        open_checkpoint(glamm_copy)


def test_what_is_no_directory_and_no_id_is_named_by_its_option() -> None:
    for kind in ("model", "clip"):
        with pytest.raises(FileNotFoundError, match=rf"^{kind}: no such directory: a b$"):
            resolve_model("a b", kind=kind)


def test_the_revision_tells_any_change_of_content(glamm_copy: Path, tmp_path: Path) -> None:
    """Of a single bit in either directory's weights; of the place not."""
    recorded = open_checkpoint(GLAMM_TINY, CLIP_TINY).revision
    assert open_checkpoint(glamm_copy, CLIP_TINY).revision == recorded
    clip = Path(shutil.copytree(CLIP_TINY, tmp_path / "clip"))
    _turn_a_bit(clip / "pytorch_model.bin")
    _turn_a_bit(glamm_copy / "pytorch_model.bin")
    assert open_checkpoint(GLAMM_TINY, clip).revision != recorded
    assert open_checkpoint(glamm_copy, CLIP_TINY).revision != recorded


def _turn_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_clip_directory_that_lacks_an_entry_names_it(tmp_path: Path) -> None:
    clip = Path(shutil.copytree(CLIP_TINY, tmp_path / "clip"))
    values = json.loads((clip / "config.json").read_text())
    del values["vision_config"]["patch_size"]
    (clip / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"^clip: .*config\.json lacks 'patch_size'$"):
        open_checkpoint(GLAMM_TINY, clip)
    (clip / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"^clip: no config\.json"):
        open_checkpoint(GLAMM_TINY, clip)
