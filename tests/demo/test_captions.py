"""What CLIP reads: a bank of phrases, of which scenes each is true, and captions of a scene in its own words."""

from __future__ import annotations

import numpy as np

from litelvlm.demo.captions import CARRIERS, bank_labels, caption, carry, phrase_bank
from litelvlm.demo.rendering import SceneArrays
from tests.demo.samples import wide_scene


def test_the_bank_holds_every_noun_phrase_once() -> None:
    bank = phrase_bank()
    assert len(bank) == len(set(bank)) == (1 + 2) * (1 + 7) * 5
    assert {("star",), ("red", "star"), ("small", "star"), ("small", "red", "star")} <= set(bank)


def test_a_phrase_is_true_where_one_object_has_all_of_its_words() -> None:
    bank = phrase_bank()
    labels = bank_labels(wide_scene(), np.array([0, 0]), bank)
    assert labels.shape == (2, len(bank))
    assert labels.dtype == np.float32
    true = {" ".join(words) for words, label in zip(bank, labels[1], strict=True) if label}
    circle = {"circle", "red circle", "small circle", "small red circle"}
    assert true == circle | {"square", "blue square", "large square", "large blue square"}  # no "blue circle"


def test_a_phrase_is_carried_in_every_way() -> None:
    rng = np.random.default_rng(0)
    found = {carry(("red", "star"), rng) for _ in range(100)}
    assert found == {carrier.replace("{phrase}", "red star") for carrier in CARRIERS}


def test_captions_say_what_is_true_of_the_scene(scenes: SceneArrays) -> None:
    rng = np.random.default_rng(0)
    phrases = [text for text, _ in scenes.expressions[0]]
    questions = wholes = 0
    for text in (caption(scenes, 0, rng) for _ in range(200)):
        if "?" in text:
            questions += 1
            assert any(phrase in text for phrase in phrases)
        elif sorted(text.split(" and ")) == sorted(scenes.descriptions[0]):
            wholes += 1
        else:
            first, second = text.split(" and ")
            assert {first, second} <= set(phrases)
            assert first != second
    assert 20 < questions < 60 < 80 < wholes < 120  # shares of 0.2 and 0.5
