"""What the pipeline knows of the model's work."""

from __future__ import annotations

import pytest

from litelvlm.config import RULES
from litelvlm.pipeline.config import ModelConfig
from litelvlm.pipeline.stages.engine import LiteLVLMEngine

SCORING = {"release", "paper", "low_similarity", "high_similarity", "trim"}


@pytest.mark.parametrize("rule", RULES)
def test_only_rules_that_compare_with_the_question_score_texts(rule):
    assert LiteLVLMEngine(model=ModelConfig(rule=rule)).scores_text == (rule in SCORING)


def test_a_rule_inside_the_language_model_reads_all_tokens_in_its_first_layers():
    engine = LiteLVLMEngine(model=ModelConfig(rule="fastv", num_retain_tokens=192))
    assert engine.tokens_read(576, 192, 32) == (2 * 576 + 30 * 192) // 32
    assert LiteLVLMEngine(model=ModelConfig(rule="paper")).tokens_read(576, 192, 32) == 192
