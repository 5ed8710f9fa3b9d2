"""What a detector is: a model that answers a phrase with the instances that it names, and prunes nothing.

A detector is small and picklable; what needs torch is imported by its methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from litelvlm.detectors.registry import Family

if TYPE_CHECKING:
    import torch

    from litelvlm.engine.request import AnnotationResult

#: Instances with a lower score are left out unless a run says otherwise.
INSTANCE_THRESHOLD = 0.5


class DetectorPreprocessor(Protocol):
    """Prepares images and checks phrases, without weights. What it prepares goes to `LoadedDetector.encode`."""

    @property
    def num_visual_tokens(self) -> int:
        """Image tokens that a phrase is held against; all of them, always."""
        ...

    def needed_size(self, size_hw: tuple[int, int]) -> tuple[int, int] | None:
        """The least size to which an image of this one may be decoded; None where all of it is needed."""
        ...

    def prepare(self, image: np.ndarray, original_size_hw: tuple[int, int] | None = None) -> Any:
        """An HxWx3 uint8 RGB image as the model reads it; picklable. Raises ValueError for another shape or dtype.

        `original_size_hw` is the size of the image that this one is a smaller decoding of; masks get that size.
        """
        ...

    def check_phrase(self, phrase: str, *, lower_case: bool = True) -> str:
        """The phrase as it is asked. Raises ValueError with a reason a person can read."""
        ...


class LoadedDetector(Protocol):
    """A detector with its weights, on a device."""

    @property
    def device(self) -> torch.device: ...

    @property
    def formulation(self) -> object:
        """How it computes, in a word, for the throughput table."""
        ...

    @property
    def stage_seconds(self) -> Mapping[str, float]:
        """Seconds so far by stage, of `litelvlm.engine.clock.STAGES`."""
        ...

    def encode(self, images: Sequence[Any]) -> list[Any]:
        """Prepared images as they are asked: again and again at no cost of an image encoder."""
        ...

    def annotate(
        self, images: Sequence[Any], phrases: Sequence[Sequence[str]], *, batch_images: int | None = None
    ) -> list[AnnotationResult]:
        """One result per image, prepared or encoded, in order; independent of how images are batched."""
        ...


class Detector(Family, Protocol):
    """A family of checkpoints, and how they are opened."""

    def __hash__(self) -> int: ...

    def revision(self, directory: Path) -> str:
        """Hash of what identifies a checkpoint. Raises FileNotFoundError or ValueError where there is none."""
        ...

    def preprocessor(self, directory: Path, resizing: str) -> DetectorPreprocessor:
        """`resizing` is "exact" or "fast". Raises FileNotFoundError or ValueError as `load`."""
        ...

    def check_weights(self, directory: Path) -> None:
        """Compare names and shapes of the weights with the model. Raises ValueError naming what does not fit."""
        ...

    def load(
        self, directory: Path, *, device: str, dtype: str, instance_threshold: float = INSTANCE_THRESHOLD
    ) -> LoadedDetector:
        """The model on its device. Raises FileNotFoundError or ValueError, in one line, where it does not fit."""
        ...
