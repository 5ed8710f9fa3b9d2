"""Which detectors there are, and which of them a checkpoint is of."""

from __future__ import annotations

from typing import Any, Protocol


class Family(Protocol):
    """What tells a detector's checkpoints from others; `litelvlm.detectors.detector` says what else it has.

    Attributes:
        title: as its authors write it.
        model_types: what `model_type` of its `config.json` says.
    """

    @property
    def title(self) -> str: ...

    @property
    def model_types(self) -> tuple[str, ...]: ...


DETECTORS: list[Family] = []


def register(detector: Family) -> None:
    """Adds a detector. Raises ValueError if another has one of its model types."""
    for other in DETECTORS:
        if set(other.model_types) & set(detector.model_types):
            raise ValueError(f"{detector.title}: one of its model types is that of {other.title}")
    DETECTORS.append(detector)


def detector_of(values: dict[str, Any]) -> Family | None:
    """The detector whose checkpoint has these values in its `config.json`; None where it is of another kind."""
    return next((one for one in DETECTORS if values.get("model_type") in one.model_types), None)
