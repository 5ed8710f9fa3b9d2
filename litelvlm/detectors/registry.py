"""Which detector a checkpoint is of, from its `config.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from litelvlm.checkpoint import DEMO_MODEL, resolve_model
from litelvlm.checkpoint_files import read_json
from litelvlm.detectors.detector import Detector

DETECTORS: list[Detector] = []


def register(detector: Detector) -> Detector:
    """Adds a detector. Raises ValueError if another has one of its model types."""
    for other in DETECTORS:
        if set(other.model_types) & set(detector.model_types):
            raise ValueError(f"{detector.title}: one of its model types is that of {other.title}")
    DETECTORS.append(detector)
    return detector


def detector_of(values: dict[str, Any]) -> Detector | None:
    """The detector whose checkpoint has these values in its `config.json`; None where it is of another kind."""
    return next((one for one in DETECTORS if values.get("model_type") in one.model_types), None)


def find_detector(model: str | Path) -> tuple[Detector, Path] | None:
    """The detector that `--model` names, and its directory.

    None where it names another model, or nothing that can be read: whoever opens it then says why.
    """
    if str(model) == DEMO_MODEL:
        return None
    try:
        directory = resolve_model(model)
        found = detector_of(read_json(directory / "config.json"))
    except (OSError, ValueError):
        return None
    return (found, directory) if found else None
