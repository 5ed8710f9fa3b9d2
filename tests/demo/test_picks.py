"""Which phrases a training step asks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from litelvlm.demo.picks import EASY_UNTIL, PhrasePicker, kind_of
from litelvlm.demo.rendering import SceneArrays
from tests.demo.samples import wide_scene


@pytest.mark.parametrize(
    ("phrase", "kind"),
    [("the red circle", "plain"), ("the topmost star", "location"), ("the star above the red circle", "relation")],
)
def test_kind_of_a_phrase(phrase: str, kind: str) -> None:
    assert kind_of(phrase) == kind


def test_phrases_are_the_scenes_with_and_without_article(scenes: SceneArrays) -> None:
    picker, known = PhrasePicker(scenes, np.random.default_rng(0)), dict(scenes.expressions[1])
    drawn = [one for _ in range(50) for one in picker.pick(1, 4, 0.5)]
    with_article = [text for text, _ in drawn if text.startswith("the ")]
    assert 60 < len(with_article) < 140
    assert all(known[f"the {text.removeprefix('the ')}"] == target for text, target in drawn)


def test_phrases_of_a_pick_differ_as_long_as_there_are_enough() -> None:
    picker = PhrasePicker(wide_scene(), np.random.default_rng(0))
    assert len({text.removeprefix("the ") for text, _ in picker.pick(0, 3, 1.0)}) == 3
    assert len(picker.pick(0, 8, 1.0)) == 8  # of three


@pytest.mark.parametrize(("progress", "plain"), [(EASY_UNTIL / 2, 0.7 / 0.9), (EASY_UNTIL, 0.45 / 0.77)])
def test_kinds_come_in_their_shares_however_many_phrases_each_has(progress: float, plain: float) -> None:
    """The scene has two plain phrases and one by location; there is no relation to ask for."""
    picker = PhrasePicker(wide_scene(), np.random.default_rng(0))
    found = Counter(target for _ in range(1000) for _, target in picker.pick(0, 1, progress))
    assert found[0] / 1000 == pytest.approx(plain, abs=0.05)
