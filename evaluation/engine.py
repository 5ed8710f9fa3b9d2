"""The model as an evaluation uses it: images encoded once, then asked under one combination after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from litelvlm.config import GlammConfig, PruningConfig
from litelvlm.evaluation.protocol import Round
from litelvlm.pipeline.stages.engine import Engine, LiteLVLMEngine

if TYPE_CHECKING:
    from litelvlm import AnnotationResult, Annotator, EncodedImage, PreparedImage, PromptTemplate


class EvaluationEngine(Engine, Protocol):
    """What an annotation run asks of an engine, and images that are encoded once for many answers."""

    def num_visual_tokens(self) -> int: ...

    def template(self) -> PromptTemplate: ...

    def sizes(self) -> GlammConfig | None: ...

    def encode(self, annotator: Any, images: list[Any]) -> list[Any]: ...

    def answer(
        self,
        annotator: Any,
        encoded: list[Any],
        asked: Sequence[tuple[list[str], Sequence[Round]]],
        pruning: PruningConfig,
        layout: str,
    ) -> list[AnnotationResult]: ...


@dataclass(frozen=True, kw_only=True)
class LiteLVLMEvaluation(LiteLVLMEngine):
    """The real model."""

    def check(self) -> list[str]:
        """As that of a run; its remarks are about a run's one budget."""
        super().check()
        return []

    def num_visual_tokens(self) -> int:
        """Visual tokens of an image before pruning."""
        return self.preprocessor().config.num_visual_tokens

    def sizes(self) -> GlammConfig | None:
        """The model's sizes, for modelled operations."""
        return self.preprocessor().config

    def encode(self, annotator: Annotator, images: list[PreparedImage]) -> list[EncodedImage]:
        """Both image encoders' output for prepared images; `answer` takes it in their place."""
        return annotator.encode(images)

    def answer(
        self,
        annotator: Annotator,
        encoded: list[EncodedImage],
        asked: Sequence[tuple[list[str], Sequence[Round]]],
        pruning: PruningConfig,
        layout: str,
    ) -> list[AnnotationResult]:
        """One result per image. `asked` holds each image's phrases and, parallel to them, their rounds."""
        from litelvlm import AnnotationRequest, PromptTemplate

        requests = [
            AnnotationRequest(
                image=image,
                phrases=phrases,
                templates=[PromptTemplate(question=one.question, answer=one.answer) for one in rounds],
            )
            for image, (phrases, rounds) in zip(encoded, asked, strict=True)
        ]
        return annotator.annotate(
            requests, pruning=pruning, layout=layout, batch_images=self.batch_images, keep_logits=False
        )
