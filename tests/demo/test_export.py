"""From what training leaves to a checkpoint that is loaded and gives the same masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from litelvlm import AnnotationRequest, Annotator, PruningConfig
from litelvlm.demo.export import assemble, export
from litelvlm.demo.scenes import HELD_OUT_SEED, draw_scene


@pytest.mark.slow
def test_the_shipped_weights_taken_apart_and_exported_are_the_shipped_checkpoint(
    training_directory: Path, tmp_path: Path, demo_annotator: Annotator
) -> None:
    calibration = demo_annotator.config.calibration
    output = tmp_path / "checkpoint"
    output.mkdir()
    (output / "left_over").touch()
    assert export(training_directory, output, calibration=calibration) == output
    assert not (output / "left_over").exists()
    exported = Annotator.from_pretrained(output)
    assert exported.config == demo_annotator.config
    scene = draw_scene(HELD_OUT_SEED)
    request = AnnotationRequest(image=scene.image, phrases=scene.phrases)
    results = [one.annotate([request], pruning=PruningConfig(rule="none"))[0] for one in (exported, demo_annotator)]
    assert np.array_equal(results[0].scores, results[1].scores)
    for mask, expected in zip(results[0].iter_masks(), results[1].iter_masks(), strict=True):
        assert np.array_equal(mask, expected)


def test_the_joint_stage_has_the_last_word(training_directory: Path) -> None:
    weights = load_file(training_directory / "language.safetensors")
    name, earlier = next((name, value) for name, value in weights.items() if name.startswith("text_hidden_fcs."))
    save_file({name: earlier + 1}, training_directory / "joint.safetensors")
    model = assemble(training_directory)
    assert (model.state_dict()[name] == earlier + 1).all()
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_stage_that_is_missing_is_told(training_directory: Path) -> None:
    count = sum(not name.startswith("heads.") for name in load_file(training_directory / "language.safetensors"))
    (training_directory / "language.safetensors").unlink()
    with pytest.raises(ValueError, match=rf"weights do not fit, {count} missing, 0 unexpected"):
        assemble(training_directory)
