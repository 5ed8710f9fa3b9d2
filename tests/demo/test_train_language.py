"""The language side learns; what it learns from stays as it is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from litelvlm.demo import schedule, train_language
from litelvlm.demo.language import LanguageHeads, LanguageSide, Understanding
from litelvlm.demo.objects import COLOURS, SHAPES, SIZES
from litelvlm.demo.oracle import OraclePrompt
from litelvlm.demo.rendering import SceneArrays
from litelvlm.demo.schedule import Training
from litelvlm.demo.sizes import demo_config
from litelvlm.demo.train_language import attribute_loss, language_losses
from litelvlm.glamm import GlammModel
from litelvlm.tokenizer import GlammTokenizer
from tests.demo.samples import CountingClock, read_curve, wide_scene


@pytest.mark.slow
@pytest.mark.usefixtures("every_step_counts")
def test_the_language_side_learns_and_the_rest_is_frozen(
    tmp_path: Path, scenes: SceneArrays, tokenizer: GlammTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "time", CountingClock())
    for name in ("BATCH", "PHRASES"):
        monkeypatch.setattr(train_language, name, 2)
    torch.manual_seed(0)
    model, oracle, saved = GlammModel(demo_config(tokenizer)), OraclePrompt(96), []
    features = np.random.default_rng(0).standard_normal((len(scenes), 144, 128)).astype(np.float16)
    side = LanguageSide(model, LanguageHeads(160, 144), features, tokenizer, np.random.default_rng(0))
    learning = {"projector": model.projector, "llm": model.llm, "hidden": model.text_hidden_fcs, "heads": side.heads}
    frozen = {"clip": model.clip, "grounding": model.grounding_encoder, "oracle": oracle}
    before = {name: [p.detach().clone() for p in module.parameters()] for name, module in (learning | frozen).items()}
    train_language.train_language(
        side,
        oracle,
        scenes,
        Training("language", tmp_path / "language.csv", minutes=12 / 60, save=lambda: saved.append(1)),
        seed=0,
    )
    curve = read_curve(tmp_path / "language.csv")
    assert (len(curve), len(saved)) == (4, 1)  # seconds 1, 4, 7 and 10 of 12; saved at the end
    assert curve[-1]["words"] < 0.9 * curve[0]["words"]
    for name, module in (learning | frozen).items():
        same = [torch.equal(old, new) for old, new in zip(before[name], module.parameters(), strict=True)]
        assert all(same) == (name in frozen), name


def test_attributes_are_read_off_the_object_that_is_meant() -> None:
    """Logits that know both objects for sure, and logits that know nothing."""
    sure = torch.zeros(2, len(SIZES) + len(COLOURS) + len(SHAPES))
    for row, words in enumerate((("small", "red", "circle"), ("large", "blue", "square"))):
        start = 0
        for word, names in zip(words, (list(SIZES), list(COLOURS), list(SHAPES)), strict=True):
            sure[row, start + names.index(word)] = 30
            start += len(names)
    picks = [(0, 0), (0, 1)]
    assert float(attribute_loss(sure, wide_scene(), picks)) == pytest.approx(0, abs=1e-6)
    assert float(attribute_loss(sure, wide_scene(), picks[::-1])) == pytest.approx(30)
    chance = sum(math.log(len(names)) for names in (SIZES, COLOURS, SHAPES)) / 3
    assert float(attribute_loss(torch.zeros_like(sure), wide_scene(), picks)) == pytest.approx(chance)


@pytest.mark.parametrize(("patch", "located"), [(5, 1.0), (0, 1.0), (2, 1.0), (3, 0.0), (15, 0.0)])
def test_a_location_counts_up_to_a_patch_away(patch: int, located: float) -> None:
    """On a 4x4 grid the object's centre is that of patch 5."""
    location = torch.zeros(1, 16)
    location[0, patch] = 1
    nothing = torch.zeros(1, 8)
    seen = Understanding(nothing, nothing, nothing, [torch.zeros(1, 1, 2)] * 2, torch.tensor([[5, 6]]))
    shares = torch.zeros(1, 16)
    shares[0, 5] = 1
    losses = language_losses(seen, location, torch.tensor([[0.375, 0.375]]), shares)
    assert losses["located"] == located
    assert float(losses["pointer"]) == pytest.approx(math.log(2))
