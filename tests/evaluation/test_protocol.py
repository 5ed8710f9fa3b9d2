"""Which expressions are asked, and in what words."""

from collections import Counter

import pytest

from litelvlm.config import PromptTemplate
from litelvlm.evaluation.protocol import ANSWERS, QUESTIONS, Protocol


def test_the_releases_lists() -> None:
    assert (len(QUESTIONS), len(ANSWERS)) == (16, 5)
    assert len(set(QUESTIONS)) == 16
    assert QUESTIONS[0] == PromptTemplate().question
    assert "Can you segment the {phrase} in this image" in QUESTIONS
    for question in QUESTIONS:
        for answer in ANSWERS:
            PromptTemplate(question=question, answer=answer)  # all of them can be asked


def test_every_expression_alone_in_the_same_words() -> None:
    protocol = Protocol(name="every")
    rounds = protocol.rounds(7, "key")
    assert [one.index for one in rounds] == list(range(7))
    assert {(one.question, one.answer) for one in rounds} == {(QUESTIONS[0], ANSWERS[0])}
    assert protocol.layout == "separate"


def test_draws_depend_on_seed_and_image_alone() -> None:
    protocol = Protocol(name="release", seed=1)
    assert protocol.layout == "rounds"
    assert protocol.rounds(9, "a") == Protocol(name="release", seed=1).rounds(9, "a")
    others = [protocol.rounds(9, "b"), Protocol(name="release", seed=2).rounds(9, "a")]
    assert protocol.rounds(9, "a") not in others
    assert "seed 1" in protocol.describe()


def test_up_to_three_are_drawn_evenly() -> None:
    protocol = Protocol(name="release")
    drawn = [protocol.rounds(5, str(key)) for key in range(3000)]
    assert {len(rounds) for rounds in drawn} == {3}
    assert all(len({one.index for one in rounds}) == 3 for rounds in drawn)
    for values, count in (
        (Counter(one.index for rounds in drawn for one in rounds), 5),
        (Counter(rounds[0].index for rounds in drawn), 5),
        (Counter(one.question for rounds in drawn for one in rounds), 16),
        (Counter(one.answer for rounds in drawn for one in rounds), 5),
    ):
        assert len(values) == count
        assert max(values.values()) < 1.35 * min(values.values())
    assert [one.index for one in protocol.rounds(2, "few")] == [0, 1]
    assert protocol.rounds(0, "none") == []


def test_unknown_protocols_are_refused() -> None:
    with pytest.raises(ValueError, match="--protocol"):
        Protocol(name="some")
    with pytest.raises(ValueError, match="--layout"):
        Protocol(layout="spiral")
    with pytest.raises(ValueError, match="--layout"):
        Protocol(name="release", layout="separate")


@pytest.mark.parametrize("layout", ["rounds", "shared"])
def test_every_expression_in_another_layout(layout: str) -> None:
    protocol = Protocol(layout=layout)
    assert protocol.layout == layout
    assert protocol.describe() != Protocol().describe()
    assert len(protocol.rounds(5, "key")) == 5
