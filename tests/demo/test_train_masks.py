"""The grounding encoder learns from the oracle's prompts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from litelvlm.demo import schedule, train_masks
from litelvlm.demo.oracle import OraclePrompt
from litelvlm.demo.rendering import SceneArrays
from litelvlm.demo.schedule import Training
from litelvlm.demo.sizes import SAM_SIZES
from litelvlm.demo.train_masks import initialize, scene_pixels
from litelvlm.grounding_encoder import GroundingEncoder
from tests.demo.samples import CountingClock, read_curve


@pytest.mark.slow
@pytest.mark.usefixtures("every_step_counts")
def test_the_loss_falls_and_everything_learns(
    tmp_path: Path, scenes: SceneArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "time", CountingClock())
    for name in ("BATCH", "PHRASES"):
        monkeypatch.setattr(train_masks, name, 2)
    torch.manual_seed(0)
    grounding, oracle = GroundingEncoder(SAM_SIZES), OraclePrompt(SAM_SIZES.output_channels)
    initialize(grounding)
    modules = {"encoder": grounding.image_encoder, "decoder": grounding.mask_decoder, "oracle": oracle}
    before = {name: [p.detach().clone() for p in module.parameters()] for name, module in modules.items()}
    train_masks.train_masks(
        grounding, oracle, scenes, Training("masks", tmp_path / "masks.csv", minutes=12 / 60), seed=0
    )
    curve = read_curve(tmp_path / "masks.csv")
    assert len(curve) == 6  # seconds 1, 3, 5, 7, 9 and 11 of 12
    assert curve[-1]["bce"] < 0.8 * curve[0]["bce"]
    for name, module in modules.items():
        assert any(not torch.equal(old, new) for old, new in zip(before[name], module.parameters(), strict=True)), name


def test_fresh_weights_are_alive() -> None:
    torch.manual_seed(0)
    grounding = GroundingEncoder(SAM_SIZES)
    initialize(grounding)
    with torch.inference_mode():
        one, other = grounding.encode_images(torch.randn(2, 3, 192, 192))
    assert one.std() > 0.1
    assert (one - other).abs().mean() > 0.01  # what comes out depends on the image


def test_pixels_are_normalised_and_padded(scenes: SceneArrays) -> None:
    wide = [index for index in range(len(scenes)) if scenes.sizes_hw[index].min() < 192]
    pixels = scene_pixels(scenes, np.array(wide), 192)
    for tensor, index in zip(pixels, wide, strict=True):
        height, width = scenes.sizes_hw[index]
        mean = np.array([123.675, 116.28, 103.53])
        expected = (scenes.sam_pixels[index][0, 0] - mean) / np.array([58.395, 57.12, 57.375])
        assert tensor[:, 0, 0].numpy() == pytest.approx(expected, abs=1e-4)
        assert not tensor[:, height:].any()
        assert not tensor[:, :, width:].any()
