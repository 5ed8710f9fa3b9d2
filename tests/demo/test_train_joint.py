"""Language side and grounding encoder learn together; CLIP stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from litelvlm.demo import schedule, train_joint
from litelvlm.demo.language import LanguageHeads, LanguageSide
from litelvlm.demo.rendering import SceneArrays
from litelvlm.demo.schedule import Training
from litelvlm.demo.sizes import demo_config
from litelvlm.demo.train_masks import initialize
from litelvlm.glamm import GlammModel
from litelvlm.tokenizer import GlammTokenizer
from tests.demo.samples import CountingClock, read_curve

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("every_step_counts")
def test_masks_teach_everything_but_clip(
    tmp_path: Path, scenes: SceneArrays, tokenizer: GlammTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "time", CountingClock())
    for name in ("BATCH", "PHRASES"):
        monkeypatch.setattr(train_joint, name, 2)
    torch.manual_seed(0)
    model, saved = GlammModel(demo_config(tokenizer)), []
    initialize(model.grounding_encoder)
    features = np.random.default_rng(0).standard_normal((len(scenes), 144, 128)).astype(np.float16)
    side = LanguageSide(model, LanguageHeads(160, 144), features, tokenizer, np.random.default_rng(0))
    parts = {
        "clip": model.clip, "projector": model.projector, "llm": model.llm, "hidden": model.text_hidden_fcs,
        "encoder": model.grounding_encoder.image_encoder, "location": side.heads.location,
    }  # fmt: skip
    before = {name: [p.detach().clone() for p in module.parameters()] for name, module in parts.items()}
    train_joint.train_joint(
        side, scenes, Training("joint", tmp_path / "joint.csv", minutes=15 / 60, save=lambda: saved.append(1)), seed=0
    )
    curve = read_curve(tmp_path / "joint.csv")
    assert (len(curve), len(saved)) == (5, 1)  # seconds 1, 4, 7, 10 and 13 of 15; saved at the end
    assert curve[-1]["bce"] < 0.9 * curve[0]["bce"]
    for name, module in parts.items():
        same = [torch.equal(old, new) for old, new in zip(before[name], module.parameters(), strict=True)]
        assert all(same) == (name == "clip"), name
