"""Phrases that take turns, worked out by hand."""

from __future__ import annotations

import pytest
import torch

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.similarity import high_similarity, low_similarity, masked_ranks, take_turns

SCORES = torch.tensor([[[0.0, 1, 2, 3, 4], [9.0, 8, 7, 0, 1]]])
BOTH, FIRST = torch.tensor([[True, True]]), torch.tensor([[True, False]])


def test_a_phrase_that_is_not_real_ranks_behind_all() -> None:
    assert masked_ranks(SCORES, FIRST).tolist() == [[[0, 1, 2, 3, 4], [5, 5, 5, 5, 5]]]


def test_phrases_choose_in_turn_and_within_a_turn_the_lower_index_is_first() -> None:
    """Turn 1 takes 0 and 3, turn 2 takes 1 and 4, turn 3 takes 2."""
    assert take_turns(SCORES, BOTH).tolist() == [[0, 2, 4, 1, 3]]
    assert take_turns(SCORES, FIRST).tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("budget", "low", "high"),
    [(1, [0], [0]), (2, [0, 3], [0, 4]), (3, [0, 1, 3], [0, 1, 4]), (5, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4])],
)
def test_low_and_high_are_the_two_ends(budget: int, low: list[int], high: list[int]) -> None:
    """From the high end, turn 1 takes 4 and 0, turn 2 takes 3 and 1."""
    evidence = Evidence(context=torch.zeros(1, 5), similarity=SCORES, phrase_mask=BOTH)
    for rule, expected in ((low_similarity, low), (high_similarity, high)):
        selection = rule(evidence, budget)
        assert torch.nonzero(selection.kept[0]).flatten().tolist() == expected
        assert torch.equal(selection.by_similarity, selection.kept)
