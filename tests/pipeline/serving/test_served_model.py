"""The model of a replica; `test_worker.py` holds its masks against the job's."""

from __future__ import annotations

from litelvlm.pipeline.config import ModelConfig
from litelvlm.pipeline.serving.served_model import _asking
from litelvlm.pipeline.stages.engine import LiteLVLMEngine


def test_budget_and_rule_replace_those_of_the_engine_and_nothing_else() -> None:
    engine = LiteLVLMEngine(model=ModelConfig(layout="shared", num_retain_tokens=9))
    asked = _asking(engine, None, "none")
    assert (asked.model.num_retain_tokens, asked.model.rule, asked.model.layout) == (None, "none", "shared")
    assert _asking(engine, 9, "release").model == engine.model
