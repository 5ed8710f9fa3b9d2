"""Weights that fill the model, and weights that do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from litelvlm.sam3.checkpoint import open_sam3
from litelvlm.sam3.loading import check_weights, load_sam3


def load(directory: Path) -> Any:
    return load_sam3(open_sam3(directory), torch.device("cpu"), torch.float32)


@pytest.fixture
def copy(sam3_tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sam3_tiny, tmp_path / "sam3"))


def rewrite(directory: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.slow
def test_the_model_for_videos_gives_the_same_weights(copy: Path, sam3_tiny: Path) -> None:
    tensors = load_file(sam3_tiny / "model.safetensors")
    others = {"tracker_model.x": torch.zeros(2), "tracker_neck.y": torch.zeros(3)}
    rewrite(copy, {f"detector_model.{name}": tensor for name, tensor in tensors.items()} | others)
    values = {"model_type": "sam3_video", "detector_config": json.loads((sam3_tiny / "config.json").read_text())}
    (copy / "config.json").write_text(json.dumps(values))
    check_weights(copy)
    found, wanted = load(copy).state_dict(), load(sam3_tiny).state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert len(found) == len(wanted)


def test_missing_and_misshapen_weights_are_named(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tensors = load_file(copy / "model.safetensors")
    del tensors["text_projection.bias"]
    rewrite(copy, tensors | {"text_projection.weight": torch.zeros(3, 3)})
    reason = (
        r"^checkpoint .* does not fill a SAM 3 model: 1 missing: text_projection\.bias; "
        r"1 misshapen: text_projection\.weight$"
    )
    with pytest.raises(ValueError, match=reason):
        check_weights(copy)
    with pytest.raises(ValueError, match=reason):
        load(copy)
    assert capfd.readouterr().err == ""


def test_a_configuration_that_makes_no_model_is_refused_in_one_line(copy: Path) -> None:
    values = json.loads((copy / "config.json").read_text())
    values["detr_encoder_config"]["num_layers"] = "many"
    (copy / "config.json").write_text(json.dumps(values))
    for attempt in (check_weights, load):
        with pytest.raises(ValueError, match=r"^checkpoint .* does not fill a SAM 3 model: ") as caught:
            attempt(copy)
        assert "\n" not in str(caught.value)


def test_a_damaged_file_is_refused(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"\x08" + bytes(30))
    for attempt in (check_weights, load):
        with pytest.raises(ValueError, match="is not a safetensors file"):
            attempt(copy)
