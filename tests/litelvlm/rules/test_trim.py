"""TRIM on four tokens: which are kept as they are, and what the last one is made of."""

from __future__ import annotations

import pytest
import torch

from litelvlm.rules.evidence import Evidence
from litelvlm.rules.trim import trim

THIRD = 1 / 3


@pytest.mark.parametrize(
    ("budget", "kept", "as_they_are", "last", "mean"),
    [
        (1, [0], [], 0, [0.25, 0.25, 0.25, 0.25]),
        (2, [0, 2], [0], 2, [0.0, THIRD, THIRD, THIRD]),
        (3, [0, 1, 2], [0, 2], 1, [0.0, 0.5, 0.0, 0.5]),
        (4, [0, 1, 2, 3], [0, 1, 2], 3, [0.0, 0.0, 0.0, 1.0]),
    ],
)
def test_the_most_similar_stay_and_the_rest_is_their_mean(
    budget: int, kept: list[int], as_they_are: list[int], last: int, mean: list[float]
) -> None:
    """By falling similarity: 0, 2, 1, 3. The mean stands at the place of the best that it holds, behind the others."""
    similarity, real = torch.tensor([[[3.0, 1.0, 2.0, 0.0]]]), torch.tensor([[True]])
    found = trim(Evidence(context=torch.zeros(1, 4), similarity=similarity, phrase_mask=real), budget)
    assert torch.nonzero(found.kept[0]).flatten().tolist() == kept
    assert torch.nonzero(found.by_similarity[0]).flatten().tolist() == as_they_are
    assert found.merge is not None
    assert found.sequence is not None
    torch.testing.assert_close(found.merge[0, last], torch.tensor(mean))
    for index in as_they_are:
        assert found.merge[0, index].tolist() == torch.eye(4)[index].tolist()
        assert found.sequence[0, index] < found.sequence[0, last]
