"""How expressions are asked: the release's way, which draws at random, and a deterministic one.

`release` is what `RefCOCO_Segm_ds.py` of groundingLMM does and GLaMM's published tables were made with: of all
expressions of an image up to 3 are drawn without replacement, they are the rounds of one conversation, and each round's
question and answer are drawn from lists. `every` asks every expression in a conversation of its own, always in the same
words, which are the model's.

Draws are seeded by the image's content and id and the protocol's seed, not by the order in which images come: any part
of a data set, on any number of actors, asks the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from litelvlm.config import LAYOUTS, PromptTemplate
from litelvlm.pipeline.settings import Flag, Settings

RELEASE = "release"
EVERY = "every"
PROTOCOLS = (EVERY, RELEASE)
MAX_ROUNDS = 3

_LAYOUT_WORDS = {
    "separate": "in a conversation of its own",
    "rounds": "of an image in one conversation",
    "shared": "of an image behind one visual prefix",
}
_WORDINGS = (
    "Can you segment the {phrase} in this image?",
    "Please segment {phrase} in this image.",
    "What is {phrase} in this image? Please respond with segmentation mask.",
    "What is {phrase} in this image? Please output segmentation mask.",
    "Could you provide a segmentation mask for the {phrase} in this image?",
    "Please identify and segment the {phrase} in this image.",
    "Where is the {phrase} in this picture? Please respond with a segmentation mask.",
    "Can you highlight the {phrase} in this image with a segmentation mask?",
)
#: groundingLMM, `dataset/utils/utils.py`, SEG_QUESTIONS: each wording with and without its last character.
QUESTIONS = (*_WORDINGS, *(wording[:-1] for wording in _WORDINGS))
#: The same file, ANSWER_LIST.
ANSWERS = (
    "It is [SEG].",
    "Sure, [SEG].",
    "Sure, it is [SEG].",
    "Sure, the segmentation result is [SEG].",
    "[SEG].",
)


@dataclass(frozen=True, kw_only=True)
class Round:
    """One expression, by its place among those of the image, with the words it is asked and answered in."""

    index: int
    question: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Protocol(Settings):
    """Which expressions of an image are asked, and how.

    `seed` matters for `release` alone. `layout` is the engine's layout of prompts; `release` has `rounds` and no other.
    `template` is in what words `every` asks, the model's own.
    """

    section = "what is compared"

    name: Annotated[str, Flag("each expression alone, or as published", name="protocol", choices=PROTOCOLS)] = EVERY
    seed: Annotated[int, Flag("of the draws of the protocol release", name="protocol_seed"), Ge(0)] = 0
    layout: Annotated[
        str, Flag("of prompts", choices=LAYOUTS, unset="rounds with --protocol release, else separate")
    ] = ""
    template: PromptTemplate = field(default_factory=PromptTemplate)

    def __post_init__(self) -> None:
        super().__post_init__()
        layout = self.layout or ("rounds" if self.name == RELEASE else "separate")
        if self.name == RELEASE and layout != "rounds":
            raise ValueError(f"--layout is {layout!r}; with --protocol {self.name} choose from rounds")
        object.__setattr__(self, "layout", layout)

    def facts(self) -> dict[str, Any]:
        """What decides the answers, as JSON values; the template is the model's."""
        return {"name": self.name, "seed": self.seed, "layout": self.layout}

    def describe(self) -> str:
        """One line for people, in every output."""
        if self.name == RELEASE:
            return (
                f"release: up to {MAX_ROUNDS} expressions an image, drawn with seed {self.seed}, as rounds of one "
                "conversation; questions and answers drawn from the release's lists"
            )
        return f"every: every expression {_LAYOUT_WORDS[self.layout]}, asked {self.template.question!r}"

    def rounds(self, num_expressions: int, image_key: str) -> list[Round]:
        """What is asked of an image, in the order of the conversation."""
        if self.name == EVERY:
            question, answer = self.template.question, self.template.answer
            return [Round(index=index, question=question, answer=answer) for index in range(num_expressions)]
        rng = _generator(self.seed, image_key)
        chosen: Sequence[int] = range(num_expressions)
        if num_expressions >= MAX_ROUNDS:
            chosen = rng.choice(num_expressions, size=MAX_ROUNDS, replace=False).tolist()
        return [
            Round(
                index=index,
                question=QUESTIONS[int(rng.integers(len(QUESTIONS)))],
                answer=ANSWERS[int(rng.integers(len(ANSWERS)))],
            )
            for index in chosen
        ]


def _generator(seed: int, image_key: str) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed}/{image_key}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
