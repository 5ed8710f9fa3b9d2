"""The stand-in for the language model: what it reads of a phrase, and what it says of a place."""

from __future__ import annotations

import pytest
import torch

from litelvlm.demo.oracle import NOUN_WORDS, NUM_WORDS, PLACE_WORDS, OraclePrompt, read_words

PHRASES = ["the red circle", "leftmost star", "the small square below the green cross"]


def test_words_of_a_phrase() -> None:
    bag = read_words(["the small red circle left of the blue square", "topmost star"])
    assert bag.shape == (2, NUM_WORDS)
    own, place, other = bag[0].split([len(NOUN_WORDS), len(PLACE_WORDS), len(NOUN_WORDS)])
    assert {NOUN_WORDS[i] for i in own.nonzero()[:, 0]} == {"small", "red", "circle"}
    assert {PLACE_WORDS[i] for i in place.nonzero()[:, 0]} == {"left of"}
    assert {NOUN_WORDS[i] for i in other.nonzero()[:, 0]} == {"blue", "square"}
    assert bag[1].sum() == 2


def test_without_certainty_a_prompt_says_nothing_of_the_place() -> None:
    torch.manual_seed(0)
    oracle, here, there = OraclePrompt(8), torch.rand(3, 2), torch.rand(3, 2)
    with torch.no_grad():
        none = oracle(PHRASES, here, torch.zeros(3))
        assert torch.equal(none, oracle(PHRASES, there, torch.zeros(3)))
        sure = oracle(PHRASES, here)
        assert torch.equal(sure, oracle(PHRASES, here, torch.ones(3)))
        half = oracle(PHRASES, here, torch.full((3,), 0.5))
    torch.testing.assert_close(half, (none + sure) / 2)
    assert (sure - none).abs().min(dim=1).values.max() > 0


@pytest.mark.parametrize(("vague", "least", "most"), [(False, 0, 0), (True, 120, 180)])
def test_half_of_the_vague_prompts_have_no_place(vague: bool, least: int, most: int) -> None:
    torch.manual_seed(0)
    oracle, phrases, centre = OraclePrompt(8), ["the star"] * 300, torch.full((300, 2), 0.9)
    with torch.no_grad():
        said = oracle.in_training(phrases, centre, vague=vague)
        placeless = oracle(phrases[:1], centre[:1], torch.zeros(1))
    assert least <= int(torch.isclose(said, placeless, atol=1e-6).all(dim=1).sum()) <= most
    assert len(said.unique(dim=0)) > 100  # places are inexact
