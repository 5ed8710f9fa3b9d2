"""The command that trains towers as CLIP is trained, and a model on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from litelvlm import AnnotationRequest, Annotator
from litelvlm.checkpoint import CLIP_MERGES, open_towers
from litelvlm.clip_encoder import ClipEncoder
from litelvlm.demo import contrast
from litelvlm.demo.rendering import render_scenes
from litelvlm.demo.scenes import HELD_OUT_SEED, draw_scene
from litelvlm.demo.train import TrainingPlan
from litelvlm.demo.train_clip import SIZES, save_clip, write_merges


@pytest.fixture
def towers() -> ClipEncoder:
    torch.manual_seed(0)
    return ClipEncoder(SIZES).requires_grad_(False)


def test_what_is_trained_is_written_as_a_clip_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, towers: ClipEncoder
) -> None:
    asked: dict[str, Any] = {}

    def train(scenes: object, directory: Path, **how: Any) -> ClipEncoder:
        asked.update(how)
        write_merges(directory / CLIP_MERGES)
        save_clip(towers, directory)
        return towers

    monkeypatch.setattr(contrast, "train_clip", train)
    monkeypatch.setattr(TrainingPlan, "scenes", property(lambda plan: asked.update(count=plan.num_scenes)))
    flags = ["--output", str(tmp_path), "--minutes", "3", "--model-minutes", "0", "--scenes", "2000"]
    (tmp_path / "features.npy").touch()
    assert contrast.main(flags) == 0
    assert asked == {"count": 2000, "minutes": 3, "seed": 0, "contrastive": True, "start": None}
    assert open_towers("demo", tmp_path / "clip").config.clip == towers.sizes
    assert not (tmp_path / "features.npy").exists(), "they are of other towers"
    assert contrast.main([*flags, "--seed", "1"]) == 0
    assert asked["seed"] == 1
    assert torch.equal(asked["start"].clip.visual.proj, towers.clip.visual.proj)


@pytest.mark.slow
def test_the_model_begins_as_the_shipped_one(towers: ClipEncoder, demo_annotator: Annotator) -> None:
    chance = torch.Generator().manual_seed(0)
    patches = torch.randn(500, 128, generator=chance)
    theirs = patches @ torch.randn(128, 128, generator=chance) + 1
    model, shipped = contrast.warm_start(towers, patches, theirs), demo_annotator.model
    assert model.clip is towers
    with torch.inference_mode():
        torch.testing.assert_close(model.projector(patches), shipped.projector(theirs), atol=1e-2, rtol=1e-3)
    given = shipped.state_dict()
    same = [name for name in given if not name.startswith(("clip.", "projector.0."))]
    assert all(torch.equal(model.state_dict()[name], given[name]) for name in same)


@pytest.mark.slow
def test_training_of_no_time_gives_a_checkpoint(tmp_path: Path, towers: ClipEncoder) -> None:
    render_scenes(tmp_path / "scenes", 0, 2, workers=1)
    write_merges(tmp_path / CLIP_MERGES)
    save_clip(towers, tmp_path)
    plan = TrainingPlan(
        directory=tmp_path, num_scenes=2, num_feature_scenes=2, num_validation_scenes=1, joint_minutes=1e-12,
        threads=1, source="demo/contrast.py",
    )  # fmt: skip
    checkpoint = contrast.train_model(plan, towers)
    assert json.loads((checkpoint / "config.json").read_text())["source"] == "demo/contrast.py"
    annotator, scene = Annotator.from_pretrained(checkpoint), draw_scene(HELD_OUT_SEED)
    assert torch.equal(annotator.model.clip.clip.visual.proj, towers.clip.visual.proj.half().float())
    [result] = annotator.annotate([AnnotationRequest(image=scene.image, phrases=scene.phrases)])
    assert len(result.run_lengths) == len(scene.phrases)


@pytest.mark.parametrize("flags", [["--minutes", "-1"], ["--scenes", "10"]])
def test_too_little_is_refused(tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        contrast.main(["--output", str(tmp_path), *flags])
    assert "at least 1000" in capsys.readouterr().err


def test_no_towers_cannot_be_left_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        contrast.main(["--output", str(tmp_path), "--minutes", "0"])
    assert "holds no towers" in capsys.readouterr().err
