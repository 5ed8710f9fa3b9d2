"""The model of a replica: images encoded once and asked as often as wanted, each time with its own budget and rule."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from litelvlm.pipeline.stages.engine import LiteLVLMEngine
from litelvlm.rules.registry import RULE_BOOK

if TYPE_CHECKING:
    from torch import Tensor

    from litelvlm import AnnotationResult, Annotator, EncodedImage, PreparedImage


class ServedModel(Protocol):
    """What a replica asks. Tests hand in another one."""

    def encode(self, images: list[PreparedImage]) -> list[Any]:
        """What may be asked about the images, one each."""
        ...

    def num_bytes(self, encoded: Any) -> int:
        """Memory that an encoded image takes."""
        ...

    def annotate(
        self, images: list[Any], phrases: list[list[str]], *, num_retain_tokens: int | None, rule: str
    ) -> list[AnnotationResult]:
        """A result for each encoded image."""
        ...


@dataclass(frozen=True, kw_only=True)
class AskedModel:
    """The real one.

    Attributes:
        engine: how the model is asked, but for budget and rule.
        annotator: the model.
    """

    engine: LiteLVLMEngine
    annotator: Annotator

    def encode(self, images: list[PreparedImage]) -> list[EncodedImage]:
        """One after the other, as texts below: what is kept must not depend on who else asked at the time, be it by a
        rounding that turns a close choice of tokens."""
        return [_apart(self.annotator.encode([one])[0]) for one in images]

    def num_bytes(self, encoded: EncodedImage) -> int:
        """Tensors, on the model's device, and pixels."""
        pixels = encoded.prepared.clip_pixels.nbytes + encoded.prepared.sam_pixels.nbytes
        return pixels + sum(one.element_size() * one.nelement() for one in _tensors(encoded))

    def annotate(
        self, images: list[Any], phrases: list[list[str]], *, num_retain_tokens: int | None, rule: str
    ) -> list[AnnotationResult]:
        """Raises ValueError where the model has no such budget."""
        engine = _asking(self.engine, num_retain_tokens, rule)
        if num_retain_tokens is not None and rule in RULE_BOOK and "similarity" in RULE_BOOK[rule].needs:
            for group in phrases:
                self.annotator.embed(group, engine.template())
        return engine.annotate(self.annotator, images, phrases)


@lru_cache(maxsize=256)
def _asking(engine: LiteLVLMEngine, num_retain_tokens: int | None, rule: str) -> LiteLVLMEngine:
    model = dataclasses.replace(engine.model, num_retain_tokens=num_retain_tokens, rule=rule)
    return dataclasses.replace(engine, model=model)


def _tensors(encoded: EncodedImage) -> list[Tensor]:
    return [*(part for part in encoded.features if part is not None), encoded.embedding]


def _apart(encoded: EncodedImage) -> EncodedImage:
    """The same in memory of its own."""
    features = type(encoded.features)(*(part.clone() for part in encoded.features if part is not None))
    return dataclasses.replace(encoded, features=features, embedding=encoded.embedding.clone())
