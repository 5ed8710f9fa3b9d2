"""A detector (`litelvlm.detectors`) behind the methods of `Engine`, and of an evaluation's."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from litelvlm.checkpoint import resolve_model
from litelvlm.config import PromptTemplate
from litelvlm.detectors.detector import INSTANCE_THRESHOLD, Detector, DetectorPreprocessor, LoadedDetector
from litelvlm.pipeline.config import ModelConfig
from litelvlm.pipeline.cpus import num_usable
from litelvlm.pipeline.stages.engine import Annotated

if TYPE_CHECKING:
    from litelvlm import AnnotationResult

_DTYPES = {"bf16": "bfloat16", "fp32": "float32"}


@dataclass(frozen=True, kw_only=True)
class DetectorEngine:
    """A model that prunes nothing: what one phrase names, as one mask."""

    detector: Detector
    model: ModelConfig
    device: str = "cpu"
    batch_images: int | None = None

    def revision(self) -> str:
        """Hash of the checkpoint. Raises FileNotFoundError or ValueError where there is none."""
        return self.detector.revision(self._directory())

    def check(self) -> list[str]:
        """Validate configuration and tokeniser. Returns a remark on what has no effect."""
        tokens = self.preprocessor().num_visual_tokens
        title, threshold = self.detector.title, self._threshold
        return [
            f"{title} prunes nothing: every phrase is held against all {tokens} tokens of its image; its mask is the "
            f"union of all instances with a score above {threshold:g}"
        ]

    def check_weights(self) -> None:
        """Compare the tensors' shapes with the model's. Raises ValueError or OSError naming what does not fit."""
        self.detector.check_weights(self._directory())

    def on_device(self, device: str) -> Self:
        """The same model on `cpu` or `cuda`."""
        return dataclasses.replace(self, device=device)

    def annotator(self, num_threads: int | None) -> LoadedDetector:
        """Load the model on its device. Raises ValueError or FileNotFoundError where the checkpoint does not fit."""
        if self.device == "cpu":
            import torch

            torch.set_num_threads(num_threads or num_usable())
        return self.detector.load(
            self._directory(), device=self.device, dtype=self.dtype, instance_threshold=self._threshold
        )

    @property
    def dtype(self) -> str:
        """`float32` or `bfloat16`: as asked, or what suits the device."""
        if self.model.precision == "auto":
            return "float32" if self.device == "cpu" else "bfloat16"
        return _DTYPES[self.model.precision]

    def preprocessor(self) -> DetectorPreprocessor:
        """Sizes and tokenizer, loaded once per process. Raises as `annotator` does."""
        return _preprocessor(self.detector, self._directory(), self.model.resizing)

    def check_phrase(self, preprocessor: DetectorPreprocessor, phrase: str) -> str:
        """The phrase as it is asked. Raises ValueError with the reason why it cannot."""
        return preprocessor.check_phrase(phrase, lower_case=self.model.phrase_case == "lower")

    def annotate(
        self, annotator: LoadedDetector, images: list[Any], phrases: list[list[str]], *, unpruned: bool = False
    ) -> list[AnnotationResult]:
        """Annotate prepared images, one result each, in order; unpruned they are in any case."""
        return annotator.annotate(images, phrases, batch_images=self.batch_images)

    def needed_tflop(self, done: Annotated) -> None:
        """Nobody has counted its operations."""

    def tflop_an_image(self, phrases: Sequence[str], layout: str) -> None:
        """As `needed_tflop`."""

    def num_visual_tokens(self) -> int:
        """Tokens of an image."""
        return self.preprocessor().num_visual_tokens

    def template(self) -> PromptTemplate:
        """The phrase alone. There is no answer in words; `[SEG]` stands for the mask."""
        return PromptTemplate(question="{phrase}", answer="[SEG]", lower_case=self.model.phrase_case == "lower")

    def sizes(self) -> None:
        """None are known that operations could be counted with."""

    def encode(self, annotator: LoadedDetector, images: list[Any]) -> list[Any]:
        """The image encoder's output for prepared images; `answer` takes it in their place."""
        return annotator.encode(images)

    def answer(
        self,
        annotator: LoadedDetector,
        encoded: list[Any],
        asked: Sequence[tuple[list[str], Sequence[object]]],
        pruning: object,
        layout: str,
    ) -> list[AnnotationResult]:
        """One result per image. `asked` holds each image's phrases; their rounds, pruning and layout are of no use."""
        return annotator.annotate(encoded, [phrases for phrases, _ in asked])

    @property
    def _threshold(self) -> float:
        threshold = self.model.instance_threshold
        return INSTANCE_THRESHOLD if threshold is None else threshold

    def _directory(self) -> Path:
        return resolve_model(self.model.model)


@functools.lru_cache(maxsize=2)
def _preprocessor(detector: Detector, directory: Path, resizing: str) -> DetectorPreprocessor:
    return detector.preprocessor(directory, resizing)
