"""Every phrase means exactly one object, read by an independent reader; kinds are drawn in their shares."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from litelvlm.demo.objects import COLOURS, SIZES, SceneObject
from litelvlm.demo.phrases import (
    EXTREMES,
    KIND_WEIGHTS,
    MARGIN,
    RELATIONS,
    DrawnPhrase,
    choose_expressions,
    holds,
    list_expressions,
)
from litelvlm.demo.scenes import HELD_OUT_SEED, draw_scene

SEEDS = [*range(25), HELD_OUT_SEED, HELD_OUT_SEED + 7]
PHRASE = re.compile(
    rf"the ((?P<extreme>{'|'.join(EXTREMES)}) )?((?P<size>{'|'.join(SIZES)}) )?((?P<colour>{'|'.join(COLOURS)}) )?"
    rf"(?P<shape>\w+)( (?P<relation>{'|'.join(RELATIONS)}) the (?P<anchor>.+))?"
)


def _item(shape: str, colour: str, size: str, x: float, y: float) -> SceneObject:
    diameter = 0.18 if size == "small" else 0.32
    return SceneObject(shape=shape, colour=colour, size=size, centre_xy=(x, y), diameter=diameter, angle=0.0)


def _named(phrase: str, objects: list[SceneObject]) -> list[int]:
    """Which objects a phrase could mean: an independent, slow reading of the phrase."""
    parsed = PHRASE.fullmatch(phrase)
    assert parsed, phrase
    found = [
        index
        for index, item in enumerate(objects)
        if item.shape == parsed["shape"]
        and (not parsed["colour"] or item.colour == parsed["colour"])
        and (not parsed["size"] or item.size == parsed["size"])
    ]
    if parsed["extreme"]:
        axis, sign = EXTREMES[parsed["extreme"]]
        places = [sign * objects[index].centre_xy[axis] for index in found]
        found = [index for index, place in zip(found, places, strict=True) if place == max(places)]
    if parsed["relation"]:
        (anchor,) = _named(f"the {parsed['anchor']}", objects)
        axis, sign = RELATIONS[parsed["relation"]]
        here = objects[anchor].centre_xy[axis]
        found = [index for index in found if sign * (objects[index].centre_xy[axis] - here) > 0]
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_every_phrase_means_exactly_its_object(seed: int) -> None:
    scene = draw_scene(seed)
    for expression in list_expressions(scene.objects):
        assert _named(expression.text, scene.objects) == [expression.target], expression


def test_distractors_make_longer_phrases_necessary() -> None:
    objects = [
        _item("circle", "red", "small", 0.2, 0.5),
        _item("circle", "red", "small", 0.8, 0.5),
        _item("square", "blue", "large", 0.5, 0.5),
    ]
    texts = {(e.text, e.target) for e in list_expressions(objects)}
    assert ("the red circle left of the blue square", 0) in texts
    assert ("the rightmost circle", 1) in texts
    assert ("the blue square", 2) in texts
    ambiguous = {"the circle", "the red circle", "the small circle", "the topmost circle"}
    assert ambiguous.isdisjoint(text for text, _ in texts)


@pytest.mark.parametrize(
    ("relation", "x", "y", "expected"),
    [
        ("left of", 0.3, 0.5, True),
        ("left of", 0.7, 0.5, False),
        ("left of", 0.5 - MARGIN / 2, 0.5, None),
        ("left of", 0.4, 0.9, None),
        ("above", 0.5, 0.2, True),
        ("below", 0.5, 0.2, False),
    ],
)
def test_relations_hold_only_when_nobody_would_argue(relation: str, x: float, y: float, expected: bool | None) -> None:
    anchor = _item("square", "blue", "large", 0.5, 0.5)
    assert holds(relation, _item("circle", "red", "small", x, y), anchor) is expected


def _expressions(kind: str, *targets: int) -> list[DrawnPhrase]:
    return [DrawnPhrase(text=f"{kind} {number}", target=target, kind=kind) for number, target in enumerate(targets)]


def test_kinds_are_drawn_by_their_weights_among_those_that_there_are() -> None:
    rng = np.random.default_rng(0)
    expressions = _expressions("attribute", *range(9)) + _expressions("relation", 0)
    found = Counter(choose_expressions(expressions, 1, rng)[0].kind for _ in range(1000))
    share = KIND_WEIGHTS["attribute"] / (KIND_WEIGHTS["attribute"] + KIND_WEIGHTS["relation"])
    assert found["attribute"] / 1000 == pytest.approx(share, abs=0.05)


def test_targets_vary_as_far_as_expressions_allow() -> None:
    rng = np.random.default_rng(0)
    expressions = _expressions("attribute", 0, 0, 0, 1)
    for _ in range(20):
        chosen = choose_expressions(expressions, 3, rng)
        assert {one.target for one in chosen[:2]} == {0, 1}
        assert len({one.text for one in chosen}) == 3
    assert len(choose_expressions(expressions, 9, rng)) == 4
