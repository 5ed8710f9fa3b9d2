"""Which model a checkpoint holds, from its `config.json`. A file of this package registers its own description."""

from __future__ import annotations

from typing import Any

from litelvlm.detectors.registry import DETECTORS
from litelvlm.limits import shown
from litelvlm.models.description import ModelDescription

MODELS: dict[str, ModelDescription] = {}


def register(description: ModelDescription) -> ModelDescription:
    """Adds a model. Raises ValueError if another has its name, an architecture or its converted format."""
    for other in MODELS.values():
        if other.name == description.name or other.converted_format == description.converted_format:
            raise ValueError(f"{description.name}: its name or converted format is that of {other.name}")
        if set(other.architectures) & set(description.architectures):
            raise ValueError(f"{description.name}: one of its architectures is that of {other.name}")
    MODELS[description.name] = description
    return description


def described_as(values: dict[str, Any], default: ModelDescription) -> ModelDescription:
    """The model that a `config.json` in a published layout is of.

    Args:
        values: the file's content.
        default: taken where the file says neither `architectures` nor a `model_type` of one model alone.

    Raises:
        ValueError: names a model that is none of these.
    """
    architectures = values.get("architectures") or []
    if not isinstance(architectures, list) or not all(isinstance(one, str) for one in architectures):
        raise ValueError("config.json: architectures must be a list of names")
    for model in MODELS.values():
        if set(architectures) & set(model.architectures):
            return model
    if architectures:
        raise ValueError(
            f"model: its config.json says {', '.join(map(shown, architectures))}; known are {_known_architectures()}"
            f"{_known_detectors()}"
        )
    of_type = [model for model in MODELS.values() if values.get("model_type") in model.model_types]
    return of_type[0] if of_type else default


def converted_as(values: dict[str, Any]) -> ModelDescription | None:
    """The model of a converted checkpoint by its `config.json`; None if it is not a converted one."""
    return next((model for model in MODELS.values() if model.converted_format == values.get("format")), None)


def _known_detectors() -> str:
    """What is to be said of models that are none of these and annotate all the same."""
    known = ", ".join(f"{one.title} (model_type {' or '.join(one.model_types)})" for one in DETECTORS)
    return f"; to annotate and to evaluate, {known}, too" if known else ""


def _known_architectures() -> str:
    return ", ".join(f"{model.title} ({' or '.join(model.architectures)})" for model in MODELS.values())
