"""CLIP's towers in training: what is learnt, what is written, and that it is what inference reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from litelvlm.clip_encoder import ClipEncoder
from litelvlm.clip_tokenizer import load_clip_tokenizer
from litelvlm.demo import schedule, train_clip
from litelvlm.demo.rendering import SceneArrays
from litelvlm.demo.train_clip import NUM_MERGES, SIZES, BankLoss, encode_images, load_clip, write_merges
from tests.demo.samples import CountingClock, read_curve

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("every_step_counts")
def test_the_loss_falls_and_the_towers_are_written(
    tmp_path: Path, scenes: SceneArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "time", CountingClock())
    monkeypatch.setattr(train_clip, "BATCH", 4)
    encoder = train_clip.train_clip(scenes, tmp_path, minutes=13 / 60, seed=0)
    curve = read_curve(tmp_path / "clip.csv")
    assert len(curve) == 4  # seconds 1, 4, 7 and 10 of 13
    assert curve[-1]["phrases"] < curve[0]["phrases"]
    assert ["words" in row and row["words"] == row["words"] for row in curve] == [False, False, True, True]
    written = load_clip(tmp_path).state_dict()
    assert all(torch.equal(value, written[name]) for name, value in encoder.state_dict().items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.csv", "clip.safetensors", "clip_merges.txt"]


@pytest.mark.usefixtures("every_step_counts")
def test_contrast_alone_teaches_as_clip_is_taught(
    tmp_path: Path, scenes: SceneArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "time", CountingClock())
    monkeypatch.setattr(train_clip, "BATCH", 4)
    encoder = train_clip.train_clip(scenes, tmp_path, minutes=13 / 60, seed=0, contrastive=True)
    curve = read_curve(tmp_path / "clip.csv")
    assert len(curve) == 4
    assert set(curve[-1]) == {"step", "seconds", "contrast", "retrieval_accuracy"}  # neither phrases nor patches
    torch.manual_seed(0)
    before, after = (one.state_dict() for one in (ClipEncoder(SIZES), encoder))
    learnt = ("clip.visual.conv1.weight", "clip.visual.proj", "clip.token_embedding.weight", "clip.text_projection")
    assert not any(torch.equal(before[name], after[name]) for name in learnt)


def test_patches_are_those_of_inference(training_directory: Path) -> None:
    encoder = load_clip(training_directory).eval()
    pixels = torch.randn(2, 3, SIZES.image_size, SIZES.image_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = encoder.encode_images(pixels)
    patches, pooled = encode_images(encoder, pixels)
    torch.testing.assert_close(patches.detach(), expected.patches, atol=1e-4, rtol=1e-3)
    assert pooled.shape == (2, SIZES.embed_dim)
    pooled.sum().backward()
    assert encoder.clip.visual.proj.grad is not None


def test_the_tokeniser_has_the_first_merges_of_clips_own(tmp_path: Path) -> None:
    write_merges(tmp_path / "merges.txt")
    lines = (tmp_path / "merges.txt").read_text().splitlines()
    assert (len(lines), lines[1]) == (NUM_MERGES + 1, "i n")
    ids = load_clip_tokenizer(tmp_path / "merges.txt", SIZES.context_length)(["the small red star"])
    assert ids.shape == (1, SIZES.context_length)
    assert int(ids.max()) < SIZES.vocab_size


def test_the_bank_loss_is_siglips() -> None:
    """A matching pair at similarity 1 has logit 10 - 2 = 8; one that does not match at -1 has -12."""
    images, texts = torch.eye(2)[:1], torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    loss = BankLoss()(images, texts, torch.tensor([[1.0, 0.0]])).detach()
    expected = (torch.log1p(torch.exp(torch.tensor(-8.0))) + torch.log1p(torch.exp(torch.tensor(-12.0)))) / 2
    assert float(loss) == pytest.approx(float(expected), rel=0.01)
