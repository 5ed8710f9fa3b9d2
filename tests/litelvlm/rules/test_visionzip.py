"""VisionZip: how many tokens are contextual, which they are, and what is merged into them."""

from __future__ import annotations

import pytest
import torch

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.selection import Selection, order_tokens
from litelvlm.rules.visionzip import visionzip


def zipped(num_tokens: int, budget: int, keys: torch.Tensor | None = None) -> Selection:
    """Of tokens that `[CLS]` attends to the more the higher their index is."""
    attention = torch.arange(num_tokens, dtype=torch.float32)[None]
    keys = torch.ones(num_tokens, 2) if keys is None else keys
    return visionzip(Evidence(context=torch.zeros(1, num_tokens), attention=attention, keys=keys[None]), budget)


def test_below_seven_tokens_all_are_dominant() -> None:
    found = zipped(9, 6)
    assert torch.nonzero(found.kept[0]).flatten().tolist() == [3, 4, 5, 6, 7, 8]
    assert found.merge is None


def test_of_seven_one_is_contextual_and_stands_last() -> None:
    found = zipped(9, 7)
    assert found.merge is not None
    assert found.merge[0, 0].tolist() == [1.0, 0.5, 0.5, 0, 0, 0, 0, 0, 0]
    assert order_tokens(found, torch.zeros(1, 9), release_order=False, own_order=True).tolist() == [
        [3, 4, 5, 6, 7, 8, 0]
    ]


def test_the_others_join_the_target_that_is_most_alike() -> None:
    """Tokens 0 to 4 are left; 0 and 2 become targets; 1 is like 2, 3 like 0, and 4 as like one as the other."""
    keys = torch.ones(16, 2)
    keys[:5] = torch.tensor([[1.0, 0], [0, 3], [0, 1], [5, 1], [2, 2]])
    found = zipped(16, 13, keys)
    assert found.merge is not None
    assert found.merge[0, 0, :5].tolist() == [1.0, 0.0, 0.0, 0.5, 0.5]
    assert found.merge[0, 2, :5].tolist() == [0.0, 1.0, 1.0, 0.0, 0.0]
    assert torch.equal(found.merge[0, 5:], torch.eye(16)[5:])


@pytest.mark.parametrize(("budget", "contextual"), [(64, 10), (128, 20), (192, 30)])
def test_shares_are_the_repositorys(budget: int, contextual: int) -> None:
    found = zipped(576, budget)
    assert found.sequence is not None
    assert int((found.kept & (found.sequence >= 576)).sum()) == contextual
    assert int(found.kept.sum()) == budget


def test_with_every_token_kept_nothing_is_merged() -> None:
    found = zipped(64, 64)
    assert found.merge is not None
    assert torch.equal(found.merge[0], torch.eye(64))
