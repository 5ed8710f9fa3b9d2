"""PruMerge on tokens few enough to fold by hand."""

from __future__ import annotations

import math

import torch

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.prumerge import prumerge
from litelvlm.rules.selection import Selection


def merged(attention: list[float], budget: int, keys: torch.Tensor | None = None) -> Selection:
    keys = torch.eye(len(attention)) if keys is None else keys
    return prumerge(
        Evidence(
            context=torch.zeros(1, len(attention)), last_attention=torch.tensor([attention]), last_keys=keys[None]
        ),
        budget,
    )


def weights(selection: Selection, index: int) -> torch.Tensor:
    assert selection.merge is not None
    return selection.merge[0, index]


def test_the_most_attended_take_in_their_neighbours_and_the_last_sums_up_the_rest() -> None:
    found = merged([0.5, 0.2, 0.3], 2)
    assert found.kept.tolist() == [[True, False, True]]
    torch.testing.assert_close(weights(found, 0), torch.tensor([1.0, 0.2, 0.3]))
    torch.testing.assert_close(weights(found, 2), torch.tensor([0.0, 0.2, 0.3]))
    assert found.sequence is not None
    assert found.sequence.tolist() == [[0, 2, 1]]


def test_a_single_token_is_the_sum_of_all_by_attention() -> None:
    found = merged([0.2, 0.5, 0.3], 1)
    assert found.kept.tolist() == [[False, True, False]]
    torch.testing.assert_close(weights(found, 1), torch.tensor([0.2, 0.5, 0.3]))


def test_ties_of_attention_go_to_the_lower_index() -> None:
    assert merged([0.25] * 4, 2).kept.tolist() == [[True, True, False, False]]


def test_only_the_32_most_alike_are_folded_in() -> None:
    angles = [math.radians(2 * index) for index in range(40)]
    keys = torch.tensor([(math.cos(one), math.sin(one)) for one in angles], dtype=torch.float64)
    row = weights(merged([0.9, *[0.01] * 39], 2, keys), 0)
    assert torch.nonzero(row).flatten().tolist() == list(range(33))
