"""Every recorded case of LISA's release, stage by stage, through the public API."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from litelvlm import AnnotationRequest, AnnotationResult, Annotator, PruningConfig
from litelvlm.config import RULES
from litelvlm.engine.packing import plan_packing
from litelvlm.pixels import normalize_clip
from litelvlm.prompts import Prompt, build_prompts
from litelvlm.tokenizer import IMAGE_ID
from tests.parity.fixtures import mask_iou
from tests.parity.lisa_fixtures import LISA_CLIP_TINY, LISA_TINY, LisaCase, load_lisa_cases

pytestmark = pytest.mark.slow

CASES = load_lisa_cases()
NUM_VISUAL = 64
EIGHT_BIT_LEVEL = 1 / 255 / 0.26


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> LisaCase:
    return request.param


@pytest.fixture(scope="module")
def lisa() -> Annotator:
    return Annotator.from_pretrained(LISA_TINY, clip=LISA_CLIP_TINY)


@pytest.fixture(scope="module")
def results(lisa: Annotator) -> dict[str, AnnotationResult]:
    """Each case annotated alone, once."""
    return {case.name: _annotate(lisa, case) for case in CASES}


def _annotate(
    lisa: Annotator, case: LisaCase, layout: str = "", pruning: PruningConfig | None = None
) -> AnnotationResult:
    request = AnnotationRequest(image=case.image, phrases=case.phrases)
    return lisa.annotate([request], pruning, layout=layout or case.layout, template=case.template)[0]


def _prompts(lisa: Annotator, case: LisaCase) -> list[Prompt]:
    phrases = [lisa.preprocessor.check_phrase(phrase, case.template) for phrase in case.phrases]
    tokenizer = lisa.preprocessor.tokenizer
    return build_prompts(phrases, case.template, tokenizer, layout=case.layout, max_text_tokens=1000)


def test_all_cases_are_here() -> None:
    assert len(CASES) == 9
    assert {case.layout for case in CASES} == {"separate", "rounds"}
    assert {case.template.lower_case for case in CASES} == {True, False}


def test_token_ids_and_mask_positions_equal_the_release(lisa: Annotator, case: LisaCase) -> None:
    prompts = _prompts(lisa, case)
    rows = zip(case.recorded["input_ids"], case.recorded["attention_mask"].bool(), strict=True)
    assert [list(prompt.input_ids) for prompt in prompts] == [ids[is_text].tolist() for ids, is_text in rows]
    assert all(prompt.input_ids[prompt.image_index] == IMAGE_ID for prompt in prompts)
    read = [
        [row, index - prompt.read_offset + NUM_VISUAL - 1]
        for row, prompt in enumerate(prompts)
        for index in prompt.seg_indices
    ]
    assert read == case.recorded["mask_positions"].tolist()


def test_clip_pixels_are_within_one_level(lisa: Annotator, case: LisaCase) -> None:
    prepared = lisa.preprocessor.prepare(case.image)
    pixels = normalize_clip([prepared.clip_pixels], torch.device("cpu"), torch.float32)[0]
    assert (pixels - case.recorded["clip_pixels"]).abs().max() <= EIGHT_BIT_LEVEL


def test_inputs_and_hidden_states_match(lisa: Annotator, case: LisaCase) -> None:
    """Whole prompts, up to where the engine stops computing."""
    runner = lisa._runner
    kept = torch.arange(NUM_VISUAL)[None]
    with torch.inference_mode():
        visual = runner.project(runner.encode_clip([lisa.preprocessor.prepare(case.image)]))
        for row, prompt in enumerate(_prompts(lisa, case)):
            plan = plan_packing([prompt], NUM_VISUAL, text_start=NUM_VISUAL)
            everywhere = range(plan.num_tokens)
            plan = replace(plan, read=[*everywhere], read_slots=[*everywhere])
            packed = runner.pack(plan, visual, [0], kept, original=False)
            hidden = runner._llama(packed, runner._prefix(plan.prefix_ids))
            before = lisa.model.llm.embed_tokens(torch.tensor(plan.prefix_ids))
            embeds = torch.cat([before, packed.embeds])
            recorded = {name: case.recorded[name][row][: len(embeds)] for name in ("inputs_embeds", "last_hidden")}
            torch.testing.assert_close(embeds, recorded["inputs_embeds"], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(hidden, recorded["last_hidden"][len(before) :], rtol=1e-3, atol=1e-4)


def test_mask_prompts_logits_and_masks_match(results: dict[str, AnnotationResult], case: LisaCase) -> None:
    result = results[case.name]
    recorded = case.recorded["mask_prompts"].numpy()
    assert np.abs(result.mask_prompts - recorded).max() <= 1e-3 * np.abs(recorded).max()
    np.testing.assert_allclose(result.low_res_logits, case.recorded["low_res_logits"].float(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(result.predicted_iou, case.recorded["iou_prediction"], atol=1e-4)
    assert result.masks.shape == case.masks.shape
    assert all(mask_iou(*pair) >= 0.999 for pair in zip(result.masks, case.masks, strict=True))


def test_image_embedding_matches(lisa: Annotator, case: LisaCase) -> None:
    with torch.inference_mode():
        embedding = lisa._runner.encode_sam([lisa.preprocessor.prepare(case.image)])[0]
    torch.testing.assert_close(embedding.mean((1, 2)), case.recorded["image_embedding_mean"], rtol=1e-3, atol=1e-4)


def test_the_layout_shared_gives_what_separate_gives(lisa: Annotator) -> None:
    """Unpruned, and where a rule that does not look at the phrases keeps the same tokens for both."""
    several = [case for case in CASES if len(case.phrases) > 1 and case.layout == "separate"]
    assert several
    for case in several:
        shared = _annotate(lisa, case, layout="shared")
        assert all(mask_iou(*pair) >= 0.999 for pair in zip(shared.masks, case.masks, strict=True))
        pruning = PruningConfig(rule="context", num_retain_tokens=20)
        alone, together = (_annotate(lisa, case, layout, pruning) for layout in ("separate", "shared"))
        np.testing.assert_allclose(together.mask_prompts, alone.mask_prompts, rtol=1e-3, atol=1e-4)
        assert together.num_prompts == 1


def test_all_images_in_one_batch_still_match(lisa: Annotator) -> None:
    """Each phrase with its case's template."""
    members = [case for case in CASES if case.layout == "separate"]
    requests = [
        AnnotationRequest(image=one.image, phrases=one.phrases, templates=[one.template] * len(one.phrases))
        for one in members
    ]
    for case, result in zip(members, lisa.annotate(requests), strict=True):
        assert all(mask_iou(*pair) >= 0.999 for pair in zip(result.masks, case.masks, strict=True))


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_keeps_its_budget(lisa: Annotator, rule: str) -> None:
    case = next(one for one in CASES if len(one.phrases) > 1)
    pruning = PruningConfig(rule=rule, num_retain_tokens=17)
    result = _annotate(lisa, case, layout="shared", pruning=pruning)
    assert result.num_retained_tokens == (NUM_VISUAL if rule == "none" else 17)
    assert all(len(set(kept.tolist())) == result.num_retained_tokens for kept in result.retained)


def test_without_a_template_phrases_are_asked_as_the_release_evaluates(lisa: Annotator) -> None:
    case = next(one for one in CASES if one.name == "case01_validate")
    request = AnnotationRequest(image=case.image, phrases=case.phrases)
    assert lisa.config.template == case.template
    result = lisa.annotate([request])[0]
    assert all(mask_iou(*pair) >= 0.999 for pair in zip(result.masks, case.masks, strict=True))
