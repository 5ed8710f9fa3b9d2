"""An image in two places is two conversations, which matters where its expressions are asked together."""

from __future__ import annotations

import pytest

from litelvlm.evaluation.conversations import Conversations
from tests.evaluation.samples import answers_marker


@pytest.mark.parametrize("layout", ["rounds", "shared"])
def test_an_image_of_two_shards_is_refused(layout: str) -> None:
    seen = Conversations(layout)
    seen.add(answers_marker("a", "b"))
    seen.add(answers_marker("c"))
    with pytest.raises(ValueError, match=r"--input: .*several places.*jobs/ground_truth.py table"):
        seen.add(answers_marker("d", "a"))


def test_an_image_twice_in_a_shard_is_refused() -> None:
    with pytest.raises(ValueError, match="--input"):
        Conversations("rounds").add(answers_marker("a", "a"))


def test_expressions_asked_alone_may_stand_anywhere() -> None:
    alone, together = Conversations("separate"), Conversations("rounds")
    for seen in (alone, together, alone):
        seen.add(answers_marker("a"))
    with pytest.raises(ValueError, match="--input"):
        together.add(answers_marker("a"))
