"""The language side in training: its losses against values worked out by hand, its features, what it keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from litelvlm.demo import language
from litelvlm.demo.language import LanguageHeads, LanguageSide, clip_patches, location_loss, pointer_loss
from litelvlm.demo.rendering import SceneArrays
from litelvlm.demo.sizes import demo_config
from litelvlm.demo.train_clip import load_clip
from litelvlm.glamm import GlammModel
from litelvlm.pixels import normalize_clip
from litelvlm.tokenizer import GlammTokenizer


def test_losses_are_least_at_the_truth() -> None:
    centre = torch.tensor([[0.3, 0.8]])
    logits = torch.full((1, 144), -4.0)
    right, wrong = logits.clone(), logits.clone()
    right[0, 9 * 12 + 3], wrong[0, 3 * 12 + 9] = 4, 4
    assert location_loss(right, centre, 12) < location_loss(wrong, centre, 12)
    kept, shares = torch.tensor([[5, 2, 7]]), torch.zeros(1, 9)
    shares[0, 2] = 1
    good, bad = torch.tensor([[[0.0, 5.0, 0.0]]]), torch.tensor([[[5.0, 0.0, 0.0]]])
    assert pointer_loss(good, kept, shares) < 0.1 < pointer_loss(bad, kept, shares)
    assert pointer_loss(good, torch.tensor([[0, 1, 3]]), shares) == 0, "no patch of the object is kept"


def test_the_location_is_a_gaussian_of_six_tenths_of_a_patch() -> None:
    """On a 2x2 grid the centre of patch 0 is one patch from its neighbours, and sqrt(2) from the one across."""
    near = np.exp(-0.5 / 0.6**2)
    weights = np.array([1, near, near, near**2])
    logits = torch.tensor([[2.0, 0.5, -1.0, 0.0]])
    expected = -(weights / weights.sum() * logits.log_softmax(1).numpy()[0]).sum()
    assert float(location_loss(logits, torch.tensor([[0.25, 0.25]]), 2)) == pytest.approx(expected, rel=1e-5)


def test_pointing_is_weighed_by_the_patches_shares() -> None:
    scores = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    kept, shares = torch.tensor([[3, 0], [1, 2]]), torch.tensor([[0.25, 0, 0, 0.75], [0.5, 0, 0, 0]])
    log_p = scores[0, 0].log_softmax(0)
    expected = -(0.75 * log_p[0] + 0.25 * log_p[1])  # nothing of the second scene's object is kept
    assert float(pointer_loss(scores, kept, shares)) == pytest.approx(float(expected))


@pytest.mark.slow
def test_features_are_clips_and_are_computed_once(training_directory: Path, scenes: SceneArrays) -> None:
    encoder, path = load_clip(training_directory).eval(), training_directory / "features.npy"
    features = clip_patches(encoder, scenes, 3, path)
    pixels = normalize_clip(list(scenes.clip_pixels[:3]), torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        expected = encoder.encode_images(pixels).patches.numpy()
    assert features.dtype == np.float16
    assert np.abs(features - expected).mean() < 0.02 * np.abs(expected).mean()  # of bfloat16
    assert [one.name for one in path.parent.glob("features*")] == ["features.npy"]
    np.save(path, np.zeros(1))
    assert clip_patches(encoder, scenes, 3, path).tolist() == [0]


@pytest.fixture(scope="module")
def side(tokenizer: GlammTokenizer) -> LanguageSide:
    torch.manual_seed(0)
    features = np.random.default_rng(0).standard_normal((4, 144, 128)).astype(np.float16)
    model = GlammModel(demo_config(tokenizer))
    return LanguageSide(model, LanguageHeads(160, 144), features, tokenizer, np.random.default_rng(0))


def test_tokens_are_dropped_and_shuffled_in_their_shares(side: LanguageSide) -> None:
    drawn = [side._kept(2, 144) for _ in range(400)]
    whole = [kept for kept in drawn if kept.shape[1] == 144]
    parts = [kept for kept in drawn if kept.shape[1] < 144]
    assert all((kept == torch.arange(144)).all() for kept in whole)
    assert 240 < len(parts) < 360  # three quarters
    assert min(kept.shape[1] for kept in parts) >= int(144 * 0.15)
    assert all(len(set(row.tolist())) == kept.shape[1] for kept in parts for row in kept)
    assert 0.35 < np.mean([bool((kept.diff(dim=1) > 0).all()) for kept in parts]) < 0.65


@pytest.mark.parametrize("rounds_share", [0.0, 1.0])
def test_a_phrase_is_prompted_as_at_inference(
    side: LanguageSide, monkeypatch: pytest.MonkeyPatch, rounds_share: float
) -> None:
    """All tokens kept: a scene's first phrase gets the same prompt alone and among others, in both layouts."""
    for name, value in (("DROPOUT_SHARE", 0.0), ("ROUNDS_SHARE", rounds_share), ("TEMPLATE_SHARES", (1.0, 0.0, 0.0))):
        monkeypatch.setattr(language, name, value)
    side.model.eval()
    chosen = np.array([2, 3])
    with torch.inference_mode():
        among = side(chosen, [["the red star", "leftmost circle"], ["square", "the square"]])
        alone = side(chosen, [["the red star"], ["square"]])
    assert among.prompts.shape == (4, side.model.config.sam.output_channels)
    assert [scores.shape for scores in among.pointers] == [(2, 2, 144)] * 3
    torch.testing.assert_close(among.prompts[::2], alone.prompts, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(among.pointers[0][:, :1], alone.pointers[0], atol=1e-4, rtol=1e-3)
    assert (among.prompts[0] - among.prompts[2]).abs().max() > 1e-3  # another scene, another phrase
