"""What can be asked of a mask beside its score: the same alone and in any batch, and as defined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from litelvlm import AnnotationRequest, Annotator, PruningConfig
from litelvlm.config import LAYOUTS, SEG_TOKEN
from litelvlm.glamm import GlammModel
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY

PRUNING = PruningConfig(num_retain_tokens=5)


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    """The parity checkpoint with its `lm_head`."""
    return Annotator.from_pretrained(GLAMM_TINY, clip=CLIP_TINY, lm_head=True)


def _requests() -> list[AnnotationRequest]:
    rng = np.random.default_rng(4)
    coarse = rng.integers(0, 255, (3, 5, 5, 3)).astype(np.uint8)
    images = [one.repeat(20, 0).repeat(24, 1) for one in coarse]
    phrases = [["dog"], ["sky", "a red coat"], ["zebra", "it", "car"]]
    return [AnnotationRequest(image=image, phrases=asked) for image, asked in zip(images, phrases, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_they_do_not_depend_on_batching(annotator: Annotator, layout: Any) -> None:
    requests, signals = _requests(), ("seg", "clip")
    together = annotator.annotate(requests, PRUNING, layout, signals=signals)
    for request, batched in zip(requests, together, strict=True):
        (alone,) = annotator.annotate([request], PRUNING, layout, signals=signals)
        np.testing.assert_allclose(batched.seg_probability, alone.seg_probability, rtol=1e-4)
        np.testing.assert_allclose(batched.clip_similarity, alone.clip_similarity, atol=1e-4)
        assert batched.seg_probability.shape == batched.clip_similarity.shape == (len(request.phrases),)


@pytest.mark.slow
def test_the_probability_is_the_softmax_of_lm_head_over_the_vocabulary(
    annotator: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As transformers' `LlamaForCausalLM` has it: `lm_head` of the normed hidden state, in float32."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    whole = GlammModel.mask_prompts

    def watch(model: GlammModel, hidden: torch.Tensor) -> torch.Tensor:
        found = whole(model, hidden)
        seen.append((hidden.double(), found))
        return found

    monkeypatch.setattr(GlammModel, "mask_prompts", watch)
    (result,) = annotator.annotate(_requests()[2:], PRUNING, signals=("seg",))
    assert annotator.model.lm_head is not None
    seg_id = annotator.preprocessor.tokenizer.token_id(SEG_TOKEN)
    hidden, prompts = (torch.cat(column) for column in zip(*seen, strict=True))  # in the order in which prompts ran
    logits = hidden @ annotator.model.lm_head.weight.double().T
    probability = torch.exp(logits - logits.logsumexp(1, keepdim=True))[:, seg_id].numpy()
    places = [np.flatnonzero((prompts.numpy() == own).all(1)).item() for own in result.mask_prompts]
    assert sorted(places) == [0, 1, 2]
    np.testing.assert_allclose(result.seg_probability, probability[places], rtol=1e-4)
    assert ((result.seg_probability > 0) & (result.seg_probability < 1)).all()


@pytest.mark.slow
def test_a_mask_that_is_wholly_empty_has_no_similarity(annotator: Annotator) -> None:
    results = annotator.annotate(_requests(), PRUNING, signals=("clip",))
    for result in results:
        for similarity, mask in zip(result.clip_similarity, result.masks, strict=True):
            assert np.isnan(similarity) or -1.0001 <= similarity <= 1.0001
            assert mask.any() or np.isnan(similarity)
        assert result.seg_probability is None


@pytest.mark.slow
def test_what_is_not_asked_is_not_there_and_masks_are_the_same(annotator: Annotator) -> None:
    requests = _requests()
    with_all = annotator.annotate(requests, PRUNING, signals=("seg", "clip"))
    for plain, full in zip(annotator.annotate(requests, PRUNING), with_all, strict=True):
        assert plain.seg_probability is None
        assert plain.clip_similarity is None
        assert all(np.array_equal(a, b) for a, b in zip(plain.run_lengths, full.run_lengths, strict=True))
        np.testing.assert_array_equal(plain.scores, full.scores)


def test_without_lm_head_and_with_other_names_it_is_refused(tiny_annotator: Annotator, annotator: Annotator) -> None:
    with pytest.raises(ValueError, match="lm_head=True"):
        tiny_annotator.annotate(_requests(), PRUNING, signals=("seg",))
    with pytest.raises(ValueError, match="choose from seg, clip"):
        annotator.annotate(_requests(), PRUNING, signals=("segs",))
