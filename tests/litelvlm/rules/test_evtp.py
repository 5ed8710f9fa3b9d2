"""Centres far from each other in features and in space."""

from __future__ import annotations

import torch

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.evtp import evtp


def test_equal_tokens_are_covered_in_space() -> None:
    """From the upper left corner of a 3 x 3 grid: the opposite corner, then the other two by index."""
    context = torch.tensor([[9.0, 0, 0, 0, 0, 0, 0, 0, 0]])
    evidence = Evidence(context=context, patches=torch.ones(1, 9, 4))
    assert torch.nonzero(evtp(evidence, 2).kept[0]).flatten().tolist() == [0, 8]
    assert torch.nonzero(evtp(evidence, 4).kept[0]).flatten().tolist() == [0, 2, 6, 8]


def test_an_opposite_token_beside_the_first_is_farther_than_the_far_corner() -> None:
    """Cosine distance 2 and a third of the diagonal, against 0 and the whole of it."""
    patches = torch.ones(1, 16, 2)
    patches[0, 1] = -1
    evidence = Evidence(context=torch.eye(16)[:1], patches=patches)
    assert torch.nonzero(evtp(evidence, 2).kept[0]).flatten().tolist() == [0, 1]
