"""Every recorded case of the release, stage by stage, through the public API."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from litelvlm import AnnotationRequest, AnnotationResult, Annotator
from litelvlm.engine.packing import plan_packing
from litelvlm.engine.runner import Runner
from litelvlm.pixels import normalize_clip
from litelvlm.prompts import Prompt, build_prompts
from litelvlm.sam_encoders import sam_encoder
from tests import fakes_attention
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY, Case, load_cases, mask_iou

pytestmark = pytest.mark.slow

CASES = load_cases()
EIGHT_BIT_LEVEL = 1 / 255 / 0.26


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def _prompt(annotator: Annotator, case: Case) -> Prompt:
    phrases = [annotator.preprocessor.check_phrase(phrase, case.template) for phrase in case.phrases]
    tokenizer = annotator.preprocessor.tokenizer
    (prompt,) = build_prompts(phrases, case.template, tokenizer, layout="rounds", max_text_tokens=1000)
    return prompt


def _annotate(annotator: Annotator, case: Case) -> AnnotationResult:
    request = AnnotationRequest(image=case.image, phrases=case.phrases)
    return annotator.annotate([request], pruning=case.pruning, layout="rounds", template=case.template)[0]


@pytest.fixture(scope="module")
def results(tiny_annotator: Annotator) -> dict[str, AnnotationResult]:
    """Each case annotated alone, once."""
    return {case.name: _annotate(tiny_annotator, case) for case in CASES}


def test_all_cases_are_here() -> None:
    assert len(CASES) == 16


def test_token_ids_equal_the_release(tiny_annotator: Annotator, case: Case) -> None:
    assert list(_prompt(tiny_annotator, case).input_ids) == case.recorded["input_ids"].tolist()


def test_clip_pixels_are_within_one_level(tiny_annotator: Annotator, case: Case) -> None:
    prepared = tiny_annotator.preprocessor.prepare(case.image)
    pixels = normalize_clip([prepared.clip_pixels], torch.device("cpu"), torch.float32)[0]
    assert (pixels - case.recorded["clip_pixels"]).abs().max() <= EIGHT_BIT_LEVEL


def test_retained_tokens_equal_the_release_in_order(results: dict[str, AnnotationResult], case: Case) -> None:
    expected = case.recorded.get("retained", torch.arange(64))
    for retained in results[case.name].retained:
        assert retained.tolist() == expected.tolist()


def test_context_ranking_equals_the_release(tiny_annotator: Annotator, case: Case) -> None:
    if "context_ranking" not in case.recorded:
        assert case.pruning.rule == "none"
        return
    prepared = tiny_annotator.preprocessor.prepare(case.image)
    pixels = normalize_clip([prepared.clip_pixels], torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        context = tiny_annotator.model.clip.encode_images(pixels).context[0]
    ranking = (-context).argsort(stable=True)
    recorded = case.recorded["context_ranking"]
    assert ranking[: len(recorded)].tolist() == recorded.tolist()


def test_inputs_and_hidden_states_match(
    tiny_annotator: Annotator, results: dict[str, AnnotationResult], case: Case
) -> None:
    """The whole prompt, up to where the engine stops computing."""
    prompt = _prompt(tiny_annotator, case)
    prepared = tiny_annotator.preprocessor.prepare(case.image)
    runner: Runner = tiny_annotator._runner
    with torch.inference_mode():
        features = runner.encode_clip([prepared])
        retained = torch.from_numpy(results[case.name].retained[0])[None]
        visual = runner.project(features)
        plan = plan_packing([prompt], retained.shape[1], text_start=retained.shape[1])
        everywhere = np.arange(plan.num_tokens)
        plan = replace(plan, read=everywhere, read_slots=everywhere)
        packed = runner.pack(plan, visual, [0], retained, original=False)
        hidden = runner._llama(packed, runner._prefix(plan.prefix_ids))
        before = tiny_annotator.model.llm.embed_tokens(torch.tensor(plan.prefix_ids))
    embeds = torch.cat([before, packed.embeds])
    recorded = {name: case.recorded[name][: len(embeds)] for name in ("inputs_embeds", "last_hidden")}
    torch.testing.assert_close(embeds, recorded["inputs_embeds"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(hidden, recorded["last_hidden"][len(before) :], rtol=1e-3, atol=1e-4)


def test_mask_prompts_match(results: dict[str, AnnotationResult], case: Case) -> None:
    recorded = case.recorded["mask_prompts"].numpy()
    error = np.abs(results[case.name].mask_prompts - recorded).max()
    assert error <= 1e-3 * np.abs(recorded).max()


def test_logits_and_predicted_iou_match(results: dict[str, AnnotationResult], case: Case) -> None:
    result = results[case.name]
    np.testing.assert_allclose(result.low_res_logits, case.recorded["low_res_logits"].float(), atol=1e-3)
    np.testing.assert_allclose(result.predicted_iou, case.recorded["iou_prediction"], atol=1e-4)


def test_image_embedding_matches(tiny_annotator: Annotator, case: Case) -> None:
    prepared = tiny_annotator.preprocessor.prepare(case.image)
    with torch.inference_mode():
        embedding = tiny_annotator._runner.encode_sam([prepared])[0]
    torch.testing.assert_close(embedding.mean((1, 2)), case.recorded["image_embedding_mean"], rtol=1e-3, atol=1e-4)


def test_masks_match(results: dict[str, AnnotationResult], case: Case) -> None:
    result = results[case.name]
    assert result.masks.shape == case.masks.shape
    for mask, recorded in zip(result.masks, case.masks, strict=True):
        assert mask_iou(mask, recorded) >= 0.999


@pytest.mark.parametrize("case", CASES[1::5], ids=lambda case: case.name)
def test_masks_match_in_other_formulations(
    tiny_annotator: Annotator, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    """Attention in stretches, restated for a CPU, and folded heads."""
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", fakes_attention.varlen_attn)
    runner: Runner = tiny_annotator._runner
    monkeypatch.setattr(runner._llama, "kind", "stretches")
    folded = sam_encoder(tiny_annotator.model.grounding_encoder, "folded")
    monkeypatch.setattr(runner, "_encode_sam", folded)
    for mask, recorded in zip(_annotate(tiny_annotator, case).masks, case.masks, strict=True):
        assert mask_iou(mask, recorded) >= 0.999


def test_separate_layout_is_the_same_for_one_phrase(tiny_annotator: Annotator) -> None:
    single = [case for case in CASES if len(case.phrases) == 1]
    assert single
    for case in single:
        request = AnnotationRequest(image=case.image, phrases=case.phrases)
        result = tiny_annotator.annotate([request], pruning=case.pruning, template=case.template)[0]
        assert mask_iou(result.masks[0], case.masks[0]) >= 0.999


def test_all_images_in_one_batch_still_match(tiny_annotator: Annotator) -> None:
    """Cases of one template share a call; their images have different sizes and phrase counts."""
    groups: dict[tuple[Any, ...], list[Case]] = {}
    for case in CASES:
        groups.setdefault((case.pruning, case.template), []).append(case)
    for (pruning, template), members in groups.items():
        requests = [AnnotationRequest(image=case.image, phrases=case.phrases) for case in members]
        results = tiny_annotator.annotate(requests, pruning=pruning, layout="rounds", template=template)
        for case, result in zip(members, results, strict=True):
            for mask, recorded in zip(result.masks, case.masks, strict=True):
                assert mask_iou(mask, recorded) >= 0.999


def test_bfloat16_stays_close_without_pruning() -> None:
    annotator = Annotator.from_pretrained(GLAMM_TINY, clip=CLIP_TINY, dtype="bfloat16")
    case = next(case for case in CASES if case.name == "case00_full")
    recorded = case.recorded["mask_prompts"].numpy()
    error = np.abs(_annotate(annotator, case).mask_prompts - recorded).max()
    assert 0 < error <= 0.05 * np.abs(recorded).max()
