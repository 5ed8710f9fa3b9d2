"""A model to evaluate without weights: how much of the truth it finds depends on the rule and the budget."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from litelvlm.config import PromptTemplate, PruningConfig
from tests.fakes import ABSENT_PHRASE, BAD_PHRASE, FakeAnnotator, FakeEngine, true_mask

NUM_VISUAL_TOKENS = 16
UNTAKEN_PHRASE = "too much for it"


@dataclass(kw_only=True)
class CountingAnnotator(FakeAnnotator):
    """Counts what it is asked to do."""

    encoded: int = 0
    answered: list[tuple[str, int | None]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class FakeAnswer:
    """As `litelvlm.AnnotationResult`, as far as an evaluation reads it."""

    rgb: np.ndarray
    phrases: list[str]
    pruning: PruningConfig

    @property
    def scores(self) -> np.ndarray:
        return np.full(len(self.phrases), 0.5, np.float32)

    @property
    def retained(self) -> list[np.ndarray]:
        return [np.arange(self.num_retained_tokens)] * len(self.phrases)

    @property
    def num_retained_tokens(self) -> int:
        return self.pruning.budget(NUM_VISUAL_TOKENS)

    num_visual_tokens = NUM_VISUAL_TOKENS

    @property
    def absent(self) -> np.ndarray | None:
        absent = np.array([phrase.startswith(ABSENT_PHRASE) for phrase in self.phrases], dtype=bool)
        return absent if absent.any() else None

    @property
    def num_prompts(self) -> int:
        return len(self.phrases)

    @property
    def num_text_tokens(self) -> int:
        return 10 * len(self.phrases)

    def iter_masks(self) -> Iterator[np.ndarray]:
        """The truth, of which the rule `low_similarity` finds the rows that the budget leaves."""
        for phrase in self.phrases:
            mask = true_mask(self.rgb, phrase)
            if self.pruning.rule == "low_similarity":
                mask[len(mask) * self.num_retained_tokens // NUM_VISUAL_TOKENS :] = False
            yield mask


@dataclass(frozen=True, kw_only=True)
class FakeEvaluation(FakeEngine):
    """As `evaluation.engine.LiteLVLMEvaluation`."""

    seconds_per_answer: float = 0.0

    def num_visual_tokens(self) -> int:
        return NUM_VISUAL_TOKENS

    def template(self) -> PromptTemplate:
        return PromptTemplate()

    def sizes(self) -> None:
        return None

    def annotator(self, num_threads: int | None) -> Any:
        super().annotator(num_threads)
        return CountingAnnotator()

    def encode(self, annotator: Any, images: list[Any]) -> list[Any]:
        annotator.encoded += len(images)
        return images

    def answer(self, annotator: Any, encoded: Any, asked: Any, pruning: Any, layout: Any) -> Any:
        if self.broken or any(UNTAKEN_PHRASE in phrases for phrases, _ in asked):
            raise RuntimeError("the model cannot take this")
        assert BAD_PHRASE not in [phrase for phrases, _ in asked for phrase in phrases]
        time.sleep(self.seconds_per_answer)
        annotator.answered.append((pruning.rule, pruning.num_retain_tokens))
        annotator.stage_seconds["llm"] += 0.25
        return [
            FakeAnswer(rgb=image, phrases=phrases, pruning=pruning)
            for image, (phrases, _) in zip(encoded, asked, strict=True)
        ]
