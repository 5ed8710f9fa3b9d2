"""Which phrases a training step asks: all kinds in the proportions of the scenes, with and without their article."""

from __future__ import annotations

import numpy as np

from litelvlm.demo.phrases import EXTREMES, RELATIONS
from litelvlm.demo.rendering import SceneArrays

KINDS = ("plain", "location", "relation")
SHARES = np.array([0.45, 0.32, 0.23])
EASY_SHARES = np.array([0.7, 0.2, 0.1])
EASY_UNTIL = 0.25  # of a stage's time, before which easy phrases prevail


def kind_of(text: str) -> str:
    """Which of `KINDS` a phrase is."""
    if any(f" {relation} the " in text for relation in RELATIONS):
        return "relation"
    return "location" if any(f"the {word} " in text for word in EXTREMES) else "plain"


class PhrasePicker:
    """Draws phrases of scenes.

    Args:
        scenes: training scenes.
        rng: source of chance.
    """

    def __init__(self, scenes: SceneArrays, rng: np.random.Generator) -> None:
        self._scenes, self._rng = scenes, rng

    def pick(self, scene: int, count: int, progress: float) -> list[tuple[str, int]]:
        """`count` phrases of a scene with their objects; `progress` is the stage's, from 0 to 1."""
        expressions = self._scenes.expressions[scene]
        kinds = np.array([KINDS.index(kind_of(text)) for text, _ in expressions])
        shares = EASY_SHARES if progress < EASY_UNTIL else SHARES
        weights = shares[kinds] / np.bincount(kinds, minlength=len(KINDS))[kinds]
        drawn = self._rng.choice(len(expressions), count, p=weights / weights.sum(), replace=len(expressions) < count)
        chosen = [expressions[int(index)] for index in drawn]
        return [(t.removeprefix("the ") if self._rng.random() < 0.5 else t, target) for t, target in chosen]
