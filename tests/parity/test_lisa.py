"""Every recorded case of LISA's release, stage by stage, through the public API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from litelvlm import AnnotationRequest, AnnotationResult, Annotator, EncodedImage, PruningConfig
from litelvlm.config import RULES
from litelvlm.engine.packing import plan_packing
from litelvlm.engine.retention import ImagePrompt
from litelvlm.pixels import normalize_clip
from litelvlm.prompts import Prompt, build_prompts
from litelvlm.tokenizer import IMAGE_ID
from tests.parity.fixtures import mask_iou
from tests.parity.lisa_fixtures import LISA_CLIP_TINY, LISA_TINY, LisaCase, load_lisa_cases

pytestmark = pytest.mark.slow

CASES = load_lisa_cases()
NUM_VISUAL = 64
Ask = Callable[..., AnnotationResult]
EIGHT_BIT_LEVEL = 1 / 255 / 0.26


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> LisaCase:
    return request.param


@pytest.fixture(scope="module")
def lisa() -> Annotator:
    return Annotator.from_pretrained(LISA_TINY, clip=LISA_CLIP_TINY)


@pytest.fixture(scope="module")
def encoded(lisa: Annotator) -> dict[bytes, EncodedImage]:
    """Each image once."""
    images = {case.image.tobytes(): case.image for case in CASES}
    return dict(zip(images, lisa.encode(list(images.values())), strict=True))


@pytest.fixture(scope="module")
def ask(lisa: Annotator, encoded: dict[bytes, EncodedImage]) -> Ask:
    """Annotates a case alone."""

    def annotate(case: LisaCase, layout: str = "", pruning: PruningConfig | None = None) -> AnnotationResult:
        request = AnnotationRequest(image=encoded[case.image.tobytes()], phrases=case.phrases)
        return lisa.annotate([request], pruning, layout=layout or case.layout, template=case.template)[0]

    return annotate


@pytest.fixture(scope="module")
def results(ask: Ask) -> dict[str, AnnotationResult]:
    """Each case, once."""
    return {case.name: ask(case) for case in CASES}


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
            everywhere = np.arange(plan.num_tokens)
            plan = replace(plan, read=everywhere, read_slots=everywhere)
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


def test_image_embedding_matches(encoded: dict[bytes, EncodedImage], case: LisaCase) -> None:
    embedding = encoded[case.image.tobytes()].embedding[0]
    torch.testing.assert_close(embedding.mean((1, 2)), case.recorded["image_embedding_mean"], rtol=1e-3, atol=1e-4)


def test_the_layout_shared_gives_what_separate_gives(ask: Ask) -> None:
    """Unpruned, and where a rule that does not look at the phrases keeps the same tokens for both."""
    case = next(one for one in CASES if one.name == "case02_validate")
    shared = ask(case, "shared")
    assert all(mask_iou(*pair) >= 0.999 for pair in zip(shared.masks, case.masks, strict=True))
    pruning = PruningConfig(rule="context", num_retain_tokens=20)
    alone, together = (ask(case, layout, pruning) for layout in ("separate", "shared"))
    np.testing.assert_allclose(together.mask_prompts, alone.mask_prompts, rtol=1e-3, atol=1e-4)
    assert (alone.num_prompts, together.num_prompts) == (2, 1)


def test_images_in_one_batch_still_match(lisa: Annotator, encoded: dict[bytes, EncodedImage]) -> None:
    """Of different sizes, encoded and not, each phrase with its case's template, and without one the model's own."""
    members = [case for case in CASES if case.name in ("case02_validate", "case03_reason", "case05_train")]
    requests = [
        AnnotationRequest(
            image=encoded[one.image.tobytes()] if number else one.image,
            phrases=one.phrases,
            templates=[one.template] * len(one.phrases) if number else None,
        )
        for number, one in enumerate(members)
    ]
    assert members[0].template == lisa.config.template
    for case, result in zip(members, lisa.annotate(requests), strict=True):
        assert all(mask_iou(*pair) >= 0.999 for pair in zip(result.masks, case.masks, strict=True))


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_keeps_its_budget(lisa: Annotator, encoded: dict[bytes, EncodedImage], rule: str) -> None:
    """As far as the mask prompt."""
    case = next(one for one in CASES if len(one.phrases) > 1)
    image, runner = encoded[case.image.tobytes()], lisa._runner
    pruning = PruningConfig(rule=rule, num_retain_tokens=17)
    questions = tuple(case.template.ask(phrase) for phrase in case.phrases)
    prompts = [ImagePrompt(image_index=0, prompt=one, questions=questions) for one in _prompts(lisa, case)]
    with torch.inference_mode():
        retained = runner.retain(image.features, prompts, [0], pruning)
        answered = runner.prefill(runner.project(image.features, retained), prompts, retained, pruning)
    budget = NUM_VISUAL if rule == "none" else 17
    assert [len(set(one.patches.tolist())) for one in answered] == [budget] * len(prompts)
    assert all(one.mask_prompts.isfinite().all() for one in answered)
