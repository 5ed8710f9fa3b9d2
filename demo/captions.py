"""What CLIP reads in training: captions of scenes, and a bank of short phrases with the scenes they are true of."""

from __future__ import annotations

import numpy as np

from litelvlm.config import PromptTemplate
from litelvlm.demo.objects import COLOURS, SHAPES, SIZES
from litelvlm.demo.rendering import SceneArrays

CARRIERS = ("{phrase}", "the {phrase}", "a picture of a {phrase}", PromptTemplate().question)


def phrase_bank() -> list[tuple[str, ...]]:
    """Every noun phrase of a shape with an optional colour and size, as words."""
    return [
        (*size, *colour, shape)
        for size in ((), *((name,) for name in SIZES))
        for colour in ((), *((name,) for name in COLOURS))
        for shape in SHAPES
    ]


def bank_labels(scenes: SceneArrays, chosen: np.ndarray, bank: list[tuple[str, ...]]) -> np.ndarray:
    """Which phrases are true of which scenes: BxN float32, 1 where an object has all of the phrase's words."""
    objects = [[set(words.split()) for words in scenes.descriptions[int(i)]] for i in chosen]
    wanted = [set(words) for words in bank]
    return np.array([[any(w <= item for item in own) for w in wanted] for own in objects], dtype=np.float32)


def carry(words: tuple[str, ...], rng: np.random.Generator) -> str:
    """A phrase of the bank as a caption or as a question."""
    return CARRIERS[int(rng.integers(len(CARRIERS)))].replace("{phrase}", " ".join(words))


def caption(scenes: SceneArrays, index: int, rng: np.random.Generator) -> str:
    """A caption of a scene: all its objects, two of its phrases, or one phrase as a question."""
    phrases = [text for text, _ in scenes.expressions[index]]
    draw = rng.random()
    if draw < 0.5:
        return " and ".join(rng.permutation(scenes.descriptions[index]))
    if draw < 0.8:
        return " and ".join(rng.permutation(phrases)[:2])
    return PromptTemplate().ask(str(rng.choice(phrases)))
