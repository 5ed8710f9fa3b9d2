"""What the pipeline knows of the model's work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from litelvlm.checkpoint import open_checkpoint
from litelvlm.config import RULES, PromptTemplate
from litelvlm.flops import clip_text_flop
from litelvlm.pipeline.config import ModelConfig
from litelvlm.pipeline.stages.engine import Annotated, LiteLVLMEngine
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY
from tests.parity.lisa_fixtures import LISA_CLIP_TINY, LISA_TINY

SCORING = {"release", "paper", "low_similarity", "high_similarity", "trim"}
DONE = Annotated(images=2, prompts=6, phrases=6, visual_tokens=6 * 144, retained_tokens=6 * 48, text_tokens=300)


def tflop(rule: str, done: Annotated = DONE) -> float:
    found = LiteLVLMEngine(model=ModelConfig(model="demo", rule=rule, num_retain_tokens=48)).needed_tflop(done)
    assert found is not None
    return found


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "fastv"])
def test_only_rules_that_compare_with_the_question_score_texts(rule: str) -> None:
    config = open_checkpoint("demo").config
    scored = DONE.phrases * clip_text_flop(config.clip) / 1e12 if rule in SCORING else 0.0
    assert tflop(rule) == pytest.approx(tflop("context") + scored, rel=1e-9)


def test_nothing_is_scored_where_nothing_is_pruned() -> None:
    whole = replace(DONE, retained_tokens=DONE.visual_tokens)
    assert tflop("paper", whole) == tflop("none", whole)


def test_a_rule_inside_the_language_model_reads_all_tokens_in_its_first_layers() -> None:
    layers, whole = open_checkpoint("demo").config.llm.num_hidden_layers, 2
    read = (whole * DONE.visual_tokens + (layers - whole) * DONE.retained_tokens) // layers
    assert tflop("fastv") == pytest.approx(tflop("context", replace(DONE, retained_tokens=read)))


def test_a_signal_that_the_checkpoint_has_no_weights_for_is_refused_before_anything_starts() -> None:
    with pytest.raises(ValueError, match=r"--signals seg needs lm_head.weight, which the checkpoint demo "):
        LiteLVLMEngine(model=ModelConfig(model="demo", signals=("seg", "clip"))).check()
    LiteLVLMEngine(model=ModelConfig(model="demo", signals=("clip",))).check()
    tiny = ModelConfig(model=str(GLAMM_TINY), clip=str(CLIP_TINY), num_retain_tokens=5, signals=("seg",))
    LiteLVLMEngine(model=tiny).check()


def test_a_phrase_is_asked_in_the_models_own_words_unless_others_are_given() -> None:
    lisa = ModelConfig(model=str(LISA_TINY), clip=str(LISA_CLIP_TINY))
    own = open_checkpoint(LISA_TINY, LISA_CLIP_TINY).config.template
    assert LiteLVLMEngine(model=lisa).template() == own
    assert own.question == " What is {phrase} in this image? Please output segmentation mask."
    asked = replace(lisa, question="{phrase}?", phrase_case="keep")
    assert LiteLVLMEngine(model=asked).template() == replace(own, question="{phrase}?", lower_case=False)
    engine = LiteLVLMEngine(model=asked)
    assert engine.check_phrase(engine.preprocessor(), " A Dog ") == "A Dog"
    assert LiteLVLMEngine(model=ModelConfig()).template() == PromptTemplate()


def test_another_family_is_checked_and_counted_like_the_first() -> None:
    engine = LiteLVLMEngine(model=ModelConfig(model=str(LISA_TINY), clip=str(LISA_CLIP_TINY), num_retain_tokens=20))
    assert engine.check() == []
    engine.check_weights()
    assert (engine.needed_tflop(DONE) or 0) > 0
    separate, shared = (engine.tflop_an_image(["a dog", "a cat", "a bird"], one) for one in ("separate", "shared"))
    assert shared < separate
