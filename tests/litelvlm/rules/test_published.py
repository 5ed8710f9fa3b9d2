"""LiteLVLM's own rules on six tokens and two phrases that want opposite ends."""

from __future__ import annotations

import pytest
import torch

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.published import context, fill_with_context, paper, release
from litelvlm.rules.selection import Selection

CLIMBING, FALLING = [0.0, 1, 2, 3, 4, 5], [5.0, 4, 3, 2, 1, 0]
CONTEXT = [0.1, 0.9, 0.2, 0.3, 0.4, 0.99]


def evidence(phrases: list[list[float]], real: list[bool]) -> Evidence:
    return Evidence(
        context=torch.tensor([CONTEXT]), similarity=torch.tensor([phrases]), phrase_mask=torch.tensor([real])
    )


def places(selection: Selection) -> tuple[list[int], list[int]]:
    """The tokens kept, and those of them that were chosen by similarity."""
    return torch.nonzero(selection.kept[0]).flatten().tolist(), (
        torch.nonzero(selection.by_similarity[0]).flatten().tolist()
    )


TWO, ONE = evidence([CLIMBING, FALLING], [True, True]), evidence([CLIMBING, FALLING], [True, False])
NONE = evidence([CLIMBING, FALLING], [False, False])


@pytest.mark.parametrize(
    ("given", "budget", "kept", "by_similarity"),
    [
        (TWO, 4, [0, 1, 4, 5], [0, 1, 4, 5]),
        (TWO, 3, [0, 1, 5], [0, 5]),
        (TWO, 1, [5], []),  # a phrase's share is none
        (ONE, 3, [0, 1, 2], [0, 1, 2]),
        (NONE, 2, [1, 5], []),
    ],
    ids=["halves", "halves rounded down", "shares of nothing", "one phrase", "no phrase"],
)
def test_release_unites_the_least_similar_of_every_phrase(
    given: Evidence, budget: int, kept: list[int], by_similarity: list[int]
) -> None:
    assert places(release(given, budget)) == (kept, by_similarity)


@pytest.mark.parametrize(
    ("given", "budget", "kept", "by_similarity"),
    [
        (TWO, 4, [1, 2, 3, 5], [2, 3]),
        (TWO, 3, [1, 4, 5], []),
        (TWO, 6, [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        (ONE, 4, [0, 1, 4, 5], [0, 1]),
        (NONE, 2, [1, 5], []),
    ],
    ids=["common to both", "nothing common", "everything", "one phrase: half", "no phrase"],
)
def test_paper_intersects_them(given: Evidence, budget: int, kept: list[int], by_similarity: list[int]) -> None:
    assert places(paper(given, budget)) == (kept, by_similarity)


def test_context_looks_at_no_text() -> None:
    assert places(context(Evidence(context=torch.tensor([CONTEXT])), 3)) == ([1, 4, 5], [])


def test_context_fills_up_by_rank_and_ties_go_to_the_lower_index() -> None:
    chosen = torch.tensor([[False, False, False, True]])
    assert places(fill_with_context(chosen, torch.tensor([[0.5, 0.5, 0.5, 0.0]]), 3)) == ([0, 1, 3], [3])
