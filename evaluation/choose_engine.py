"""Which model an evaluation is of, and what of the sweep makes sense for it."""

from __future__ import annotations

import dataclasses

from litelvlm.config import RULES, UNPRUNED
from litelvlm.evaluation.config import EvaluationConfig
from litelvlm.evaluation.engine import EvaluationEngine, LiteLVLMEvaluation
from litelvlm.evaluation.protocol import EVERY
from litelvlm.pipeline.stages.choose_engine import detector_engine, fitted


def choose_evaluation(config: EvaluationConfig) -> tuple[EvaluationConfig, EvaluationEngine]:
    """The configuration as its model takes it, and the model; nothing is loaded.

    A detector, which prunes nothing, is evaluated under the rule `none` alone.

    Raises:
        ValueError: names settings that are given and have no effect on the model.
    """
    config = dataclasses.replace(config, run=fitted(config.run))
    run, detector = config.run, detector_engine(config.run)
    if detector is None:
        return config, LiteLVLMEvaluation(model=run.model, batch_images=run.cluster.batch_images)
    title = detector.detector.title
    if config.sweep.rules not in (RULES, (UNPRUNED,)):
        raise ValueError(f"--rules: {title} prunes nothing; give {UNPRUNED}, or leave it out")
    if config.protocol.name != EVERY or config.protocol.layout != "separate":
        raise ValueError(f"--protocol, --layout: {title} is asked every phrase alone; leave them out")
    return dataclasses.replace(config, sweep=dataclasses.replace(config.sweep, rules=(UNPRUNED,))), detector
