"""A sweep's answers, drawn from what each rule is said to find."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from litelvlm.config import PruningConfig
from litelvlm.evaluation.answers import Answers
from litelvlm.evaluation.config import SweepConfig

SWEEP = SweepConfig(
    rules=("none", "release", "low_similarity", "high_similarity", "random"), budgets=(48, 16), seeds=(0, 1)
)
NUM_IMAGES = 40


def drawn_answers(combinations: list[PruningConfig], *, kind: str = "dog") -> Answers:
    """Two expressions on each of 40 images; the rule decides how much of the object is found."""
    rng = np.random.default_rng(0)
    count = 2 * NUM_IMAGES
    true = rng.integers(100, 900, count)
    columns: dict[str, list[NDArray[Any]]] = {
        name: [] for name in ("combination", "true_area", "intersection", "predicted_area", "score")
    }
    for index, pruning in enumerate(combinations):
        share = {"low_similarity": 0.8, "high_similarity": 0.4}.get(pruning.rule, 0.6) + 0.1 * rng.random(count)
        found = (true * share).astype(np.int64)
        for name, values in (("true_area", true), ("intersection", found), ("predicted_area", found), ("score", share)):
            columns[name].append(values)
        columns["combination"].append(np.full(count, index))
    joined = {name: np.concatenate(values) for name, values in columns.items()}
    total = len(joined["combination"])
    joined |= {"num_words": np.full(total, 3), "boundary_f": np.full(total, 0.5), "coverage": np.full(total, 0.25)}
    return Answers(
        columns=joined,
        failed=np.zeros(total, bool),
        image=np.tile(np.repeat(np.arange(NUM_IMAGES), 2), len(combinations)),
        kind=np.tile(np.arange(count) % 2, len(combinations)),
        kinds=(kind, "cat"),
        share=joined["true_area"] / 10_000,
    )
