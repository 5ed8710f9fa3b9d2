"""Which engine a configuration means, from its checkpoint's `config.json`. Nothing is loaded."""

from __future__ import annotations

import dataclasses
from typing import cast

from litelvlm.checkpoint import resolve_model
from litelvlm.checkpoint_files import read_json
from litelvlm.detectors.detector import INSTANCE_THRESHOLD, Detector
from litelvlm.detectors.registry import detector_of
from litelvlm.pipeline.config import ModelConfig, RunConfig
from litelvlm.pipeline.stages.detector_engine import DetectorEngine
from litelvlm.pipeline.stages.engine import Engine, LiteLVLMEngine

#: Settings that a detector has no use for, beside their defaults, with the value that says so.
_OF_OTHERS = {
    "clip": None,
    "formulation": "auto",
    "rule": "none",
    "num_retain_tokens": None,
    "order": "auto",
    "positions": "compact",
    "layout": "separate",
    "question": None,
    "answer": None,
    "signals": (),
}


def choose_engine(config: RunConfig) -> Engine:
    """The model that a configuration names, which is `fitted`."""
    return detector_engine(config) or LiteLVLMEngine(model=config.model, batch_images=config.cluster.batch_images)


def detector_engine(config: RunConfig) -> DetectorEngine | None:
    """The detector that a configuration names; None where it names another model."""
    detector = find_detector(config.model)
    if detector is None:
        return None
    return DetectorEngine(detector=detector, model=config.model, batch_images=config.cluster.batch_images)


def fitted(config: RunConfig) -> RunConfig:
    """The configuration as its model takes it: one that prunes nothing has the rule `none` and all tokens.

    Raises:
        ValueError: names settings that are given and have no effect on the model.
    """
    model, detector = config.model, find_detector(config.model)
    if detector is None:
        if model.instance_threshold is not None:
            raise ValueError("--instance-threshold: is of SAM 3 (docs/models.md), which --model does not name")
        return config
    unused = [name for name, value in _OF_OTHERS.items() if getattr(model, name) not in (value, _default(name))]
    if unused:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        them = "it" if len(unused) == 1 else "them"
        raise ValueError(f"{flags}: {detector.title} prunes nothing and is asked the phrase alone; leave {them} out")
    if config.baseline_images:
        raise ValueError(f"--baseline-images: {detector.title} prunes nothing; there is nothing to compare with")
    if model.precision == "fp8":
        raise ValueError(f"--precision fp8: {detector.title} runs in bf16 or fp32")
    threshold = INSTANCE_THRESHOLD if model.instance_threshold is None else model.instance_threshold
    return dataclasses.replace(
        config,
        model=dataclasses.replace(model, **_OF_OTHERS, instance_threshold=threshold),  # type: ignore[arg-type]
    )


def find_detector(model: ModelConfig) -> Detector | None:
    """The detector that `--model` names.

    None where it names another model, or nothing that can be read: whoever opens it then says why.
    """
    if model.is_demo:
        return None
    try:
        return cast("Detector | None", detector_of(read_json(resolve_model(model.model) / "config.json")))
    except (OSError, ValueError):
        return None


def _default(name: str) -> object:
    return ModelConfig.__dataclass_fields__[name].default
