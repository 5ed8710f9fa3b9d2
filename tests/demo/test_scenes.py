"""Drawn scenes: same seed, same scene; masks are exactly the visible pixels; every phrase means one object."""

from __future__ import annotations

import re

import numpy as np
import pytest

from litelvlm.demo.objects import COLOURS, SHAPES, SIZES, SceneObject, silhouette
from litelvlm.demo.phrases import EXTREMES, MARGIN, RELATIONS, holds, list_expressions
from litelvlm.demo.scenes import HELD_OUT_SEED, MAX_ASPECT, MIN_VISIBLE, draw_scene

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


@pytest.mark.parametrize("seed", SEEDS)
def test_a_scene_is_as_promised(seed: int) -> None:
    scene = draw_scene(seed)
    height, width = scene.image.shape[:2]
    assert scene.image.dtype == np.uint8
    assert max(height, width) <= MAX_ASPECT * min(height, width) + 1
    assert 3 <= len(scene.objects) <= 6
    assert 2 <= len(scene.phrases) == len(set(scene.phrases)) <= 4
    assert scene.masks.shape == (len(scene.phrases), height, width)
    assert scene.masks.dtype == bool
    for mask, expression in zip(scene.masks, scene.expressions, strict=True):
        assert np.array_equal(mask, scene.object_masks[expression.target])


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_are_the_visible_pixels(seed: int) -> None:
    scene = draw_scene(seed)
    height, width = scene.image.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    assert scene.object_masks.sum(axis=0).max() == 1, "a pixel shows one object at most"
    rows, columns = np.mgrid[:height, :width] + 0.5
    covered = np.zeros((height, width), dtype=bool)
    for item, mask in reversed(list(zip(scene.objects, scene.object_masks, strict=True))):
        radius = item.diameter * side / 2
        x = (columns - left - item.centre_xy[0] * side) / radius
        y = (rows - top - item.centre_xy[1] * side) / radius
        cos, sin = np.cos(item.angle), np.sin(item.angle)
        whole = silhouette(item.shape, cos * x - sin * y, sin * x + cos * y)
        assert (mask != (whole & ~covered)).sum() <= 2, "up to rounding on the outline"
        assert mask.sum() >= MIN_VISIBLE * whole.sum() - 2
        covered |= whole


def test_objects_have_their_colour() -> None:
    scene = draw_scene(3)
    for item, mask in zip(scene.objects, scene.object_masks, strict=True):
        distances = {name: np.abs(scene.image[mask].mean(0) - rgb).sum() for name, rgb in COLOURS.items()}
        assert min(distances, key=distances.__getitem__) == item.colour


def test_the_same_seed_draws_the_same_scene() -> None:
    first, second, other = draw_scene(5), draw_scene(5), draw_scene(6)
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.masks, second.masks)
    assert first.phrases == second.phrases
    assert first.image.shape != other.image.shape or not np.array_equal(first.image, other.image)


def test_size_sets_the_shortest_side() -> None:
    assert min(draw_scene(1, size=96).image.shape[:2]) == 96
    with pytest.raises(ValueError, match="size"):
        draw_scene(1, size=8)


def test_shapes_differ() -> None:
    v, u = np.mgrid[-1:1:41j, -1:1:41j]
    drawn = [silhouette(shape, u, v) for shape in SHAPES]
    assert all(0.2 < mask.mean() < 0.9 for mask in drawn)
    assert all((a != b).mean() > 0.05 for i, a in enumerate(drawn) for b in drawn[:i])
    with pytest.raises(ValueError, match="blob"):
        silhouette("blob", u, v)


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
