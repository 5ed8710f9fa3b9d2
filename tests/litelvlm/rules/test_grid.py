"""Where tokens lie: neighbours, and distances."""

from __future__ import annotations

import pytest
import torch

from litelvlm.rules.grid import distances, grid_width, neighbourhoods, z_ranks


def test_the_curve_goes_quadrant_by_quadrant() -> None:
    assert z_ranks(16).reshape(4, 4).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@pytest.mark.parametrize("num_tokens", [1, 2, 7, 64, 144, 256, 576, 1000])
def test_every_number_of_tokens_is_on_it_once(num_tokens: int) -> None:
    assert sorted(z_ranks(num_tokens).tolist()) == list(range(num_tokens))
    assert (grid_width(num_tokens) - 1) ** 2 < num_tokens <= grid_width(num_tokens) ** 2


@pytest.mark.parametrize(("num_tokens", "count"), [(64, 16), (576, 64), (90, 7), (5, 5), (3, 1)])
def test_neighbourhoods_are_equal_but_for_one_token(num_tokens: int, count: int) -> None:
    sizes = neighbourhoods(num_tokens, count, torch.zeros(1)).bincount(minlength=count)
    assert sizes.max() - sizes.min() <= 1
    assert sizes.sum() == num_tokens


def test_quarters_are_quadrants_and_distances_shares_of_the_diagonal() -> None:
    assert neighbourhoods(16, 4, torch.zeros(1)).view(4, 4).tolist() == [
        [0, 0, 1, 1],
        [0, 0, 1, 1],
        [2, 2, 3, 3],
        [2, 2, 3, 3],
    ]
    found = distances(9, torch.zeros(1, dtype=torch.float64))
    assert found[0, 8] == 1.0
    assert found[0, 2] == pytest.approx(0.5**0.5)
    assert found.diagonal().tolist() == [0.0] * 9
