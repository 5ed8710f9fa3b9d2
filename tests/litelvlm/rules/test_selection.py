"""Ranks, and the orders in which kept tokens are handed on."""

from __future__ import annotations

import pytest
import torch

from litelvlm.rules.selection import Selection, highest, identity, keep, order_tokens, ranks

KEPT = torch.tensor([[True, False, True, True, True]])
BY_SIMILARITY = torch.tensor([[True, False, False, True, False]])
CONTEXT = torch.tensor([[0.9, 0.8, 0.1, 0.7, 0.2]])


def test_ranks_count_from_the_lowest_and_ties_go_to_the_lower_index() -> None:
    assert ranks(torch.tensor([[3.0, 1.0, 2.0], [5.0, 5.0, 4.0]])).tolist() == [[2, 0, 1], [1, 2, 0]]


@pytest.mark.parametrize(
    ("count", "expected"), [(0, [False] * 4), (2, [True, True, False, False]), (4, [True] * 4), (9, [True] * 4)]
)
def test_the_highest_among_equals_are_the_first(count: int, expected: list[bool]) -> None:
    assert highest(torch.tensor([[7.0, 7.0, 7.0, 7.0]]), count).tolist() == [expected]


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ({"release_order": True}, [4, 2, 0, 3]),  # context by rank, then similarity by index
        ({"release_order": True, "own_order": True}, [4, 2, 0, 3]),
        ({"release_order": False}, [0, 2, 3, 4]),
        ({"release_order": False, "own_order": True}, [3, 4, 0, 2]),
    ],
    ids=["release", "release before own", "raster", "own"],
)
def test_orders(orders: dict[str, bool], expected: list[int]) -> None:
    own = torch.tensor([[8, 0, 9, 1, 7]])  # token 1 would be first, but it is not kept
    selection = Selection(KEPT, BY_SIMILARITY, 4, own)
    order = order_tokens(selection, CONTEXT, release_order=orders["release_order"], own_order="own_order" in orders)
    assert order.tolist() == [expected]


def test_a_rule_without_an_order_of_its_own_has_raster_order() -> None:
    selection = keep(KEPT, 4)
    assert order_tokens(selection, CONTEXT, release_order=False, own_order=True).tolist() == [[0, 2, 3, 4]]
    assert not selection.by_similarity.any()


def test_tokens_that_stay_what_they_are() -> None:
    scores = torch.zeros(2, 3, dtype=torch.float64)
    assert identity(scores).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert identity(scores).dtype == torch.float64
