"""A stand-in for the language model: a mask prompt made from the phrase's words and the object's true place.

With it the grounding encoder learns to find and draw objects before there is a language model to prompt it, and the
language model gets a code to aim for before there is a mask to learn from. It is thrown away after training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from litelvlm.demo.objects import COLOURS, SHAPES, SIZES
from litelvlm.demo.phrases import EXTREMES, RELATIONS

NOUN_WORDS = (*SIZES, *COLOURS, *SHAPES)
PLACE_WORDS = (*EXTREMES, *RELATIONS)
NUM_WORDS = 2 * len(NOUN_WORDS) + len(PLACE_WORDS)
FREQUENCIES = (1, 2, 4)
NUM_WAVES = 2 + 4 * len(FREQUENCIES)
# The language model will place objects less exactly than the truth, or not at all; the decoder has to live with it.
CENTRE_NOISE = 0.03
PLACELESS_SHARE = 0.5


def read_words(phrases: Sequence[str]) -> Tensor:
    """Phrases as bags of words, NxW float32: the object's own words, the place word, and those of the other object."""
    bags = np.zeros((len(phrases), NUM_WORDS), dtype=np.float32)
    for bag, phrase in zip(bags, phrases, strict=True):
        own, relation, other = phrase, "", ""
        for name in RELATIONS:
            if f" {name} the " in phrase:
                own, other = phrase.split(f" {name} the ")
                relation = name
        words = own.split()
        bag[[NOUN_WORDS.index(word) for word in words if word in NOUN_WORDS]] = 1
        bag[[len(NOUN_WORDS) + PLACE_WORDS.index(word) for word in words if word in EXTREMES]] = 1
        if relation:
            bag[len(NOUN_WORDS) + PLACE_WORDS.index(relation)] = 1
            bag[[len(NOUN_WORDS) + len(PLACE_WORDS) + NOUN_WORDS.index(word) for word in other.split()]] = 1
    return torch.from_numpy(bags)


class OraclePrompt(nn.Module):
    """Mask prompts NxC: a code of the words plus a code of the place.

    The place has no bias: where its certainty is 0, nothing is said about it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.words = nn.Sequential(nn.Linear(NUM_WORDS, 128), nn.ReLU(), nn.Linear(128, channels))
        self.place = nn.Linear(NUM_WAVES, channels, bias=False)

    def forward(self, phrases: Sequence[str], centre_xy: Tensor, certainty: Tensor | None = None) -> Tensor:
        """
        Args:
            phrases: N phrases.
            centre_xy: Nx2 in CLIP's crop, from 0 to 1.
            certainty: N from 0 (no place) to 1; None is 1 throughout.
        """
        waves = [wave(math.pi * k * centre_xy) for k in FREQUENCIES for wave in (torch.sin, torch.cos)]
        place = self.place(torch.cat([centre_xy * 2 - 1, *waves], dim=1))
        if certainty is not None:
            place = place * certainty[:, None]
        return self.words(read_words(phrases)) + place

    def in_training(self, phrases: Sequence[str], centre_xy: Tensor, *, vague: bool) -> Tensor:
        """Prompts with inexact places; if `vague`, as weak or absent as a language model's that is in doubt."""
        certainty = torch.ones(len(phrases))
        if vague:
            certainty = 0.3 + 0.7 * torch.rand(len(phrases))
            certainty[torch.rand(len(phrases)) < PLACELESS_SHARE] = 0
        return self(phrases, centre_xy + CENTRE_NOISE * torch.randn_like(centre_xy), certainty)
