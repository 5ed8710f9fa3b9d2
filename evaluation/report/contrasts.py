"""Questions that a sweep answers: what one choice does against another, on the same images.

Differences are taken per expression and drawn by image, so that what both choices find hard cancels out: an interval
that leaves out 0 is evidence that two single intervals may hide. Of a seeded rule it is the mean over its seeds.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litelvlm.config import PruningConfig
from litelvlm.evaluation.answers import Answers
from litelvlm.evaluation.bootstrap import bootstrap_mean
from litelvlm.evaluation.metrics import iou_per_expression

#: (rule, against, question)
RULE_QUESTIONS = (
    ("low_similarity", "high_similarity", "Are the least similar tokens better than the most similar?"),
    ("low_similarity", "random", "Are the least similar tokens better than chance?"),
    ("high_similarity", "random", "Are the most similar tokens better than chance?"),
    ("context", "random", "Are context tokens better than chance?"),
    ("context", "low_similarity", "Are context tokens better than the least similar?"),
    ("paper", "low_similarity", "Does context added to similarity help (paper)?"),
    ("paper", "context", "Does similarity added to context help (paper)?"),
    ("release", "paper", "Is the release's rule better than the paper's text?"),
)
ORDER_QUESTION = "Does raster order help against the release's?"
POSITION_QUESTION = "Do original position ids help against compact ones?"


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """`difference` in gIoU of `first` over `second`, with its interval. `first` and `second` are of the first seed."""

    question: str
    first: PruningConfig
    second: PruningConfig
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """`yes`, `no` (it hurts), or `not shown` where the interval holds 0."""
        return "yes" if self.low > 0 else "no, it hurts" if self.high < 0 else "not shown"


def contrasts(combinations: list[PruningConfig], answers: Answers, *, num_samples: int) -> Iterator[Contrast]:
    """Every question that the sweep's combinations can answer, by question, then by budget."""
    if not num_samples or answers.failed.all():
        return
    iou, image = _by_combination(answers, len(combinations))
    for question, first, second in _pairs(combinations):
        difference = iou[first].mean(axis=0) - iou[second].mean(axis=0)
        low, high = bootstrap_mean(difference, image.tolist(), num_samples=num_samples)
        yield Contrast(
            question=question,
            first=combinations[first[0]],
            second=combinations[second[0]],
            difference=float(difference.mean()),
            low=low,
            high=high,
        )


def _by_combination(answers: Answers, count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """IoU CxE of E expressions that were answered, the same ones in the same order for every combination."""
    scored = ~answers.failed
    common, predicted, true = (answers[name][scored] for name in ("intersection", "predicted_area", "true_area"))
    iou = iou_per_expression(common, predicted + true - common)
    order = np.argsort(answers["combination"][scored], kind="stable")
    return iou[order].reshape(count, -1), answers.image[scored][order].reshape(count, -1)[0]


def _pairs(combinations: list[PruningConfig]) -> Iterator[tuple[str, list[int], list[int]]]:
    """Question and places of two choices that differ in one thing, each with all of its seeds."""
    places: dict[PruningConfig, list[int]] = defaultdict(list)
    for index, pruning in enumerate(combinations):
        places[_unseeded(pruning)].append(index)
    questions = [("rule", first, second, question) for first, second, question in RULE_QUESTIONS]
    questions += [
        ("order", "raster", "release", ORDER_QUESTION),
        ("positions", "original", "compact", POSITION_QUESTION),
    ]
    by_budget = sorted(places, key=lambda pruning: -(pruning.num_retain_tokens or 0))
    for name, value, other, question in questions:
        for pruning in by_budget:
            changed: dict[str, Any] = {name: other}
            against = dataclasses.replace(pruning, **changed)
            if getattr(pruning, name) == value and against in places:
                yield question, places[pruning], places[against]


def _unseeded(pruning: PruningConfig) -> PruningConfig:
    return dataclasses.replace(pruning, seed=0)
