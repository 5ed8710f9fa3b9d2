"""The small LISA begins as the shipped GLaMM, and ends as a checkpoint that loads as LISA."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from litelvlm import AnnotationRequest, Annotator
from litelvlm.checkpoint import DEMO_DIRECTORY
from litelvlm.demo import train_lisa
from litelvlm.demo.rendering import render_scenes
from litelvlm.demo.scenes import HELD_OUT_SEED, draw_scene
from litelvlm.demo.train import TrainingPlan
from litelvlm.demo.train_lisa import main, warm_start, write_tokenizer
from litelvlm.models.lisa import LISA
from litelvlm.tokenizer import GlammTokenizer


def test_the_tokenizer_adds_lisas_tokens(tmp_path: Path) -> None:
    own, theirs = write_tokenizer(tmp_path), GlammTokenizer(DEMO_DIRECTORY)
    size = theirs.token_id("<im_start>")
    assert [own.token_id(token) for token in LISA.added_tokens] == [size, size + 1, size + 2]
    assert own.vocab_size == size + 3
    assert own.encode(["What is it?"]) == theirs.encode(["What is it?"])


def test_it_begins_as_the_shipped_model(tmp_path: Path, demo_annotator: Annotator) -> None:
    own, theirs = write_tokenizer(tmp_path), demo_annotator.preprocessor.tokenizer
    patches = torch.randn(2000, 128, generator=torch.Generator().manual_seed(0))
    model, shipped = warm_start(own, patches), demo_annotator.model
    table, expected = model.llm.embed_tokens.weight, shipped.llm.embed_tokens.weight
    for token in LISA.added_tokens:
        assert torch.equal(table[own.token_id(token)], expected[theirs.token_id(token)])
    assert torch.equal(table[: own.token_id("[SEG]")], expected[: own.token_id("[SEG]")])
    mine, given = model.state_dict(), shipped.state_dict()
    same = [name for name in given if not name.startswith(("projector.", "llm.embed_tokens."))]
    assert all(torch.equal(mine[name], given[name]) for name in same)
    with torch.inference_mode():
        wanted, found = shipped.projector(patches), model.projector(patches)
    rest = wanted - found
    assert (rest**2).sum() < (wanted - wanted.mean(0)).pow(2).sum()
    assert rest.mean(0).abs().max() < 1e-3  # what least squares leave has no mean
    assert (patches.T @ rest / len(patches)).abs().max() < 1e-3  # nor anything linear


@pytest.mark.slow
def test_training_of_no_time_gives_a_checkpoint(tmp_path: Path) -> None:
    render_scenes(tmp_path / "scenes", 0, 2, workers=1)
    plan = TrainingPlan(
        directory=tmp_path, num_scenes=2, num_feature_scenes=2, num_validation_scenes=1, joint_minutes=1e-12,
        threads=1, description=LISA,
    )  # fmt: skip
    annotator = Annotator.from_pretrained(train_lisa.train_lisa(plan))
    assert annotator.config.description is LISA
    scene = draw_scene(HELD_OUT_SEED)
    [result] = annotator.annotate([AnnotationRequest(image=scene.image, phrases=scene.phrases)])
    assert len(result.run_lengths) == len(scene.phrases)


def test_flags_become_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[TrainingPlan] = []
    monkeypatch.setattr(train_lisa, "train_lisa", plans.append)
    assert main(["--output", str(tmp_path), "--minutes", "5", "--scenes", "2000"]) == 0
    [plan] = plans
    assert (plan.joint_minutes, plan.num_scenes, plan.num_feature_scenes) == (5, 2000, 2000)
    assert (plan.description, plan.source) == (LISA, "demo/train_lisa.py")


@pytest.mark.parametrize("flags", [["--minutes", "0"], ["--scenes", "10"]])
def test_too_little_is_refused(tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--output", str(tmp_path), *flags])
    assert "at least 1000" in capsys.readouterr().err
