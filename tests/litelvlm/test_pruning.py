"""The rules against slow, literal restatements of their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litelvlm.config import RULES, PruningConfig
from litelvlm.pruning import select
from litelvlm.rules.evidence import Evidence
from litelvlm.rules.registry import RULE_BOOK
from litelvlm.rules.selection import Selection, order_tokens


def select_tokens(
    similarity: torch.Tensor,
    context: torch.Tensor,
    pruning: PruningConfig,
    *,
    phrase_mask: torch.Tensor | None = None,
    seeds: list[int] | None = None,
) -> Selection:
    """What a rule keeps of BxV tokens by their BxPxV similarity; all phrases are real unless a mask says otherwise."""
    if phrase_mask is None:
        phrase_mask = torch.ones(similarity.shape[:2], dtype=torch.bool)
    return select(
        Evidence(context=context, similarity=similarity, phrase_mask=phrase_mask, seeds=seeds, seed=pruning.seed),
        pruning,
    )


def lowest(scores: np.ndarray, count: int) -> list[int]:
    """Indices of the `count` lowest scores, ties to the lower index."""
    return sorted(range(len(scores)), key=lambda i: (scores[i], i))[:count]


def fill(chosen: set[int], context: np.ndarray, budget: int) -> list[int]:
    """The context tokens that are added, by rank."""
    ranked = [i for i in lowest(-context, len(context)) if i not in chosen]
    return ranked[: budget - len(chosen)]


def literal_release(similarity: np.ndarray, context: np.ndarray, budget: int) -> tuple[list[int], set[int]]:
    chosen: set[int] = set()
    for scores in similarity:
        chosen |= set(lowest(scores, budget // len(similarity)))
    return fill(chosen, context, budget) + sorted(chosen), chosen


def literal_paper(similarity: np.ndarray, context: np.ndarray, budget: int) -> tuple[list[int], set[int]]:
    if len(similarity) == 1:
        chosen = set(lowest(similarity[0], budget // 2))
    else:
        chosen = set.intersection(*(set(lowest(scores, budget)) for scores in similarity))
    return fill(chosen, context, budget) + sorted(chosen), chosen


def literal_low_similarity(similarity: np.ndarray, context: np.ndarray, budget: int) -> tuple[list[int], set[int]]:
    """The phrases take turns, one rank after another; within a rank the lower index goes first."""
    kept: list[int] = []
    orders = [lowest(scores, len(scores)) for scores in similarity]
    for rank in range(len(context)):
        for index in sorted({order[rank] for order in orders}):
            if index not in kept:
                kept.append(index)
    return sorted(kept[:budget]), set(kept[:budget])


LITERAL = {
    "release": literal_release,
    "paper": literal_paper,
    "low_similarity": literal_low_similarity,
    "high_similarity": lambda s, c, b: literal_low_similarity(-s, c, b),
    "context": lambda s, c, b: (fill(set(), c, b), set()),
}


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("rule", sorted(LITERAL))
def test_rules_equal_their_definitions(rule: Any, data: Any) -> None:
    num_tokens = data.draw(st.integers(1, 12))
    num_rows = data.draw(st.integers(1, 3))
    counts = [data.draw(st.integers(1, 4)) for _ in range(num_rows)]
    budget = data.draw(st.integers(1, num_tokens))
    levels = data.draw(st.sampled_from([2, 5, 1000]))  # few levels make ties
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    similarity = rng.integers(0, levels, (num_rows, max(counts), num_tokens)).astype(np.float32)
    context = rng.integers(0, levels, (num_rows, num_tokens)).astype(np.float32)
    mask = torch.arange(max(counts))[None] < torch.tensor(counts)[:, None]
    selection = select_tokens(
        torch.from_numpy(similarity),
        torch.from_numpy(context),
        PruningConfig(num_retain_tokens=budget, rule=rule),
        phrase_mask=mask,
    )
    for release_order in (False, True):
        order = order_tokens(selection, torch.from_numpy(context), release_order=release_order)
        assert order.shape == (num_rows, budget)
        for row in range(num_rows):
            expected, chosen = LITERAL[rule](similarity[row, : counts[row]], context[row], budget)  # type: ignore[no-untyped-call]
            assert set(torch.nonzero(selection.by_similarity[row]).flatten().tolist()) == chosen
            assert order[row].tolist() == (expected if release_order else sorted(expected))


@pytest.mark.parametrize("rule", [*sorted(LITERAL), "random"])
@pytest.mark.parametrize("budget", [1, 2, 7, 63, 64])
def test_every_budget_keeps_exactly_that_many(rule: Any, budget: int) -> None:
    similarity, context = torch.randn(5, 9, 64), torch.rand(5, 64)
    pruning = PruningConfig(num_retain_tokens=budget, rule=rule)
    selection = select_tokens(similarity, context, pruning, seeds=[1, 2, 3, 4, 5])
    assert selection.kept.sum(-1).tolist() == [budget] * 5
    assert not (selection.by_similarity & ~selection.kept).any()
    order = order_tokens(selection, context, release_order=True)
    assert all(len(set(row.tolist())) == budget for row in order)


@pytest.mark.parametrize(
    "pruning",
    [PruningConfig(), PruningConfig(rule="none", num_retain_tokens=3), PruningConfig(num_retain_tokens=65)],
    ids=["no budget", "rule none", "budget > V"],
)
def test_unpruned_is_every_token_in_raster_order(pruning: Any) -> None:
    selection = select_tokens(torch.randn(2, 3, 64), torch.rand(2, 64), pruning)
    order = order_tokens(selection, torch.rand(2, 64), release_order=False)
    assert order.tolist() == [list(range(64))] * 2


def test_the_rule_book_holds_every_rule() -> None:
    assert sorted(RULE_BOOK) == sorted(set(RULES) - {"none"})


@pytest.mark.parametrize("rule", [*sorted(LITERAL), "none", "random"])
def test_a_row_does_not_depend_on_its_batch(rule: Any) -> None:
    similarity, context = torch.randn(6, 4, 50), torch.rand(6, 50)
    pruning = PruningConfig(num_retain_tokens=17, rule=rule)
    seeds = list(range(6))
    batched = order_tokens(select_tokens(similarity, context, pruning, seeds=seeds), context, release_order=True)
    for row in range(6):
        one = slice(row, row + 1)
        alone = select_tokens(similarity[one], context[one], pruning, seeds=seeds[one])
        assert order_tokens(alone, context[one], release_order=True)[0].tolist() == batched[row].tolist()
