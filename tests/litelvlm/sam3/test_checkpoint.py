"""What a SAM 3 directory may say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litelvlm.sam3.checkpoint import open_sam3, revision


@pytest.fixture
def copy(sam3_tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sam3_tiny, tmp_path / "sam3"))


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


def test_sizes_are_read(sam3_tiny: Path) -> None:
    found = open_sam3(sam3_tiny)
    assert (found.image_size, found.grid_size, found.num_visual_tokens, found.text_tokens) == (64, 8, 64, 32)
    assert (found.image_mean, found.image_std) == ((0.5,) * 3, (0.5,) * 3)


def test_what_is_not_said_is_as_published(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "sam3"}')
    found = open_sam3(tmp_path)
    assert (found.image_size, found.grid_size, found.num_visual_tokens, found.text_tokens) == (1008, 72, 5184, 32)


def test_of_the_model_for_videos_the_detector_is_read(sam3_tiny: Path, tmp_path: Path) -> None:
    values = json.loads((sam3_tiny / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam3_video", "detector_config": values}))
    assert open_sam3(tmp_path).values == values


def _backbone(values: dict[str, Any]) -> dict[str, Any]:
    return values["vision_config"]["backbone_config"]


@pytest.mark.parametrize(
    ("name", "edit", "reason"),
    [
        (
            "config.json",
            lambda v: v.update(vision_config=[1]),
            "vision_config must be an",
        ),
        ("config.json", lambda v: _backbone(v).update(image_size=-1), "image_size: must be an integer of at least 1"),
        ("config.json", lambda v: _backbone(v).update(image_size=10**6), "image_size: is 1000000; no model has more"),
        ("config.json", lambda v: _backbone(v).update(image_size=65), "image_size must be a multiple of patch_size"),
        ("config.json", lambda v: v.update(quantization_config={}), "quantised SAM 3 checkpoints are not taken"),
        ("config.json", lambda v: v["text_config"].update(max_position_embeddings="x"), "max_position_embeddings"),
        ("processor_config.json", lambda v: v["image_processor"].update(size={"height": 32}), "size is"),
        ("processor_config.json", lambda v: v["image_processor"].update(resample=3), "resample must be 2"),
        ("processor_config.json", lambda v: v["image_processor"].update(rescale_factor=1), "rescale_factor must be"),
        ("processor_config.json", lambda v: v["image_processor"].update(image_mean=[0.5]), "image_mean must be three"),
        (
            "processor_config.json",
            lambda v: v["image_processor"].update(image_std=[0, 1, 1]),
            "image_std: must be a pos",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    copy: Path, name: str, edit: Callable[[dict[str, Any]], object], reason: str
) -> None:
    change(copy / name, edit)
    with pytest.raises(ValueError, match=reason):
        open_sam3(copy)


def test_the_revision_is_that_of_everything_that_decides_a_mask(copy: Path, sam3_tiny: Path) -> None:
    first = revision(sam3_tiny)
    assert revision(copy) == first
    change(copy / "processor_config.json", lambda v: v["image_processor"].update(image_std=[0.4, 0.5, 0.5]))
    second = revision(copy)
    change(copy / "tokenizer_config.json", lambda v: v.update(model_max_length=77))
    assert len({first, second, revision(copy)}) == 3


def test_weights_that_could_run_code_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: SAM 3 is read from safetensors"):
        revision(copy)
