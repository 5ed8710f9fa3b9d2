"""The trainer's stages: what they leave, what they skip, and how long they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from litelvlm import Annotator
from litelvlm.demo import train
from litelvlm.demo.rendering import render_scenes
from litelvlm.demo.team import Team
from litelvlm.demo.train import TrainingPlan, finish, main


def test_a_share_shortens_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[TrainingPlan] = []
    monkeypatch.setattr(train, "train", plans.append)
    assert main(["--output", str(tmp_path), "--share", "0.1", "--seed", "7"]) == 0
    assert main(["--output", str(tmp_path), "--share", "2"]) == 0
    whole = TrainingPlan(directory=tmp_path)
    short, long = plans
    assert (short.num_scenes, short.num_feature_scenes, short.num_validation_scenes) == (3600, 2400, 30)
    assert short.clip_minutes == pytest.approx(3)
    assert (short.joint_minutes, short.seed) == (1.5, 7)
    assert long == dataclasses.replace(  # twice the time, on all the scenes that there are
        whole, clip_minutes=60, masks_minutes=58, language_minutes=40, joint_minutes=30
    )


def test_a_share_of_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--output", str(tmp_path), "--share", "0"])
    assert "--share: must be above 0, not 0.0" in capsys.readouterr().err


@pytest.fixture
def plan(training_directory: Path) -> TrainingPlan:
    """Of no time at all: stages write what they begin with."""
    render_scenes(training_directory / "scenes", 0, 2, workers=1)
    np.save(training_directory / "features.npy", np.zeros((2, 144, 128), np.float16))
    return TrainingPlan(
        directory=training_directory, num_scenes=2, num_validation_scenes=1, language_minutes=1e-12, joint_minutes=1e-12
    )


@pytest.mark.slow
def test_the_joint_stage_goes_on_from_the_stages_before(plan: TrainingPlan) -> None:
    train._joint_stage(plan, Team())
    joint = load_file(plan.directory / "joint.safetensors")
    before = load_file(plan.directory / "masks.safetensors") | load_file(plan.directory / "language.safetensors")
    assert not any(name.split(".")[0] in ("clip", "oracle", "heads") for name in joint)
    assert {name for name in before if name.split(".")[0] not in ("oracle", "heads")} <= set(joint)
    assert all(torch.equal(joint[name], before[name]) for name in set(joint) & set(before))
    assert not list(plan.directory.glob("*.partial"))


def test_the_language_stage_leaves_its_parts_and_heads(plan: TrainingPlan) -> None:
    train._language_stage(plan, Team())
    parts = {name.split(".")[0] for name in load_file(plan.directory / "language.safetensors")}
    assert parts == {"projector", "llm", "text_hidden_fcs", "heads"}


def test_only_the_leader_writes(plan: TrainingPlan) -> None:
    train._joint_stage(plan, Team(rank=1))
    assert not (plan.directory / "joint.safetensors").exists()


@pytest.mark.slow
def test_the_end_is_a_calibrated_checkpoint(plan: TrainingPlan, capsys: pytest.CaptureFixture[str]) -> None:
    output = finish(plan)
    calibration = Annotator.from_pretrained(output).config.calibration
    said = capsys.readouterr().out
    assert f"calibration: {calibration}" in said
    unpruned = float(said.split("unpruned ")[1].split(",")[0])
    assert unpruned > 0.3  # the shipped weights find drawn objects


@pytest.mark.slow
def test_what_is_done_is_not_done_again(plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in ("clip", "masks", "language", "joint"):
        (plan.directory / f"{stage}.done").touch()
    before = {path.name: path.stat().st_mtime_ns for path in plan.directory.glob("*.safetensors")}
    monkeypatch.setattr(train, "finish", lambda plan: plan.directory / "checkpoint")
    assert train.train(plan) == plan.directory / "checkpoint"
    assert {path.name: path.stat().st_mtime_ns for path in plan.directory.glob("*.safetensors")} == before
    assert (plan.directory / "curve.png").stat().st_size > 0
