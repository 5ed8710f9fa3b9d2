"""The trainer's parts whose mistakes a loss curve would hide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from litelvlm.checkpoint import DEMO_DIRECTORY
from litelvlm.config import PromptTemplate
from litelvlm.demo.calibrate import fit_calibration
from litelvlm.demo.language import location_loss, pointer_loss
from litelvlm.demo.oracle import NOUN_WORDS, NUM_WORDS, PLACE_WORDS, read_words
from litelvlm.demo.picks import kind_of
from litelvlm.demo.prompt_batches import build_batch
from litelvlm.demo.rendering import render_scenes
from litelvlm.demo.scoring import Scored
from litelvlm.demo.targets import GeometryTable, low_res_masks, patch_shares
from litelvlm.scores import confidence
from litelvlm.tokenizer import IMAGE_ID, GlammTokenizer

PHRASES = ["the red circle", "leftmost small star", "the blue square below the large green cross"]


def _hidden(model: LlamaModel, batch, visual: torch.Tensor) -> torch.Tensor:
    embeds = model.embed_tokens(batch.input_ids.clamp(min=0))
    embeds = embeds.masked_scatter((batch.input_ids == IMAGE_ID)[..., None], visual)
    output = model(inputs_embeds=embeds, attention_mask=batch.attend, position_ids=batch.position_ids, use_cache=False)
    return output.last_hidden_state[0, batch.read[0]]


def test_branches_equal_separate_prompts() -> None:
    torch.manual_seed(0)
    tokenizer = GlammTokenizer(DEMO_DIRECTORY)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaModel(LlamaConfig(vocab_size=tokenizer.vocab_size, **sizes)).eval()
    visual = torch.randn(1, 7, 32)
    with torch.no_grad():
        together = _hidden(
            model, build_batch([PHRASES], PromptTemplate(), tokenizer, layout="separate", num_visual=7), visual
        )
        alone = [
            _hidden(model, build_batch([[text]], PromptTemplate(), tokenizer, layout="rounds", num_visual=7), visual)
            for text in PHRASES
        ]
        rounds = _hidden(
            model, build_batch([PHRASES], PromptTemplate(), tokenizer, layout="rounds", num_visual=7), visual
        )
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert torch.allclose(rounds[0], together[0], atol=1e-5)
    assert not torch.allclose(rounds[2], together[2], atol=1e-3), "later rounds see earlier ones"


def test_words_of_a_phrase() -> None:
    bag = read_words(["the small red circle left of the blue square", "topmost star"])
    assert bag.shape == (2, NUM_WORDS)
    own, place, other = bag[0].split([len(NOUN_WORDS), len(PLACE_WORDS), len(NOUN_WORDS)])
    assert {NOUN_WORDS[i] for i in own.nonzero()[:, 0]} == {"small", "red", "circle"}
    assert {PLACE_WORDS[i] for i in place.nonzero()[:, 0]} == {"left of"}
    assert {NOUN_WORDS[i] for i in other.nonzero()[:, 0]} == {"blue", "square"}
    assert bag[1].sum() == 2


@pytest.mark.parametrize(
    ("phrase", "kind"),
    [("the red circle", "plain"), ("the topmost star", "location"), ("the star above the red circle", "relation")],
)
def test_kind_of_a_phrase(phrase: str, kind: str) -> None:
    assert kind_of(phrase) == kind


def test_rendered_targets_agree_with_the_scene(tmp_path: Path) -> None:
    scenes = render_scenes(tmp_path, 0, 4, workers=1)
    again = render_scenes(tmp_path, 0, 4)
    assert np.array_equal(scenes.labels, again.labels)
    assert scenes.expressions == again.expressions
    picks = [(scene, target) for scene in range(4) for target in range(len(scenes.descriptions[scene]))]
    shares = patch_shares(scenes, picks, 12)
    masks = low_res_masks(scenes, picks, 64)
    centre = GeometryTable(scenes)(picks).centre_xy
    cells = (torch.arange(12) + 0.5) / 12
    for index, (scene, target) in enumerate(picks):
        assert (masks[index] > 0.5).sum() == pytest.approx((scenes.labels[scene] == target).sum() / 9, rel=0.2)
        by_patch = shares[index].view(12, 12)
        seen = torch.stack([(by_patch.sum(0) * cells).sum(), (by_patch.sum(1) * cells).sum()]) / by_patch.sum()
        assert (seen - centre[index]).abs().max() < 0.08


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


def test_calibration_recovers_what_made_the_data() -> None:
    rng = np.random.default_rng(0)
    predicted, stable = rng.uniform(0.2, 0.95, (2, 4000)).astype(np.float32)
    logit = 1.5 * np.log(predicted / (1 - predicted)) - 0.5
    truth = (1000 / (1 + np.exp(-logit))).astype(np.int64)
    union = np.full(4000, 1000)
    none = np.zeros(4000, dtype=np.float32)
    scored = Scored(
        intersection=truth, union=union, scores=none, predicted_iou=predicted, stability=stable, kinds=[], coverage=none
    )
    calibration = fit_calibration([scored])
    assert calibration.iou == pytest.approx(1.5, abs=0.1)
    assert calibration.stability == pytest.approx(0, abs=0.1)
    fitted = confidence(torch.from_numpy(predicted), torch.from_numpy(stable), calibration).numpy()
    assert np.abs(fitted - scored.iou).max() < 0.03
