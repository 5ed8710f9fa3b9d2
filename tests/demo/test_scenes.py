"""Drawn scenes: same seed, same scene; masks are exactly the visible pixels."""

from __future__ import annotations

import numpy as np
import pytest

from litelvlm.demo.objects import COLOURS, silhouette
from litelvlm.demo.scenes import HELD_OUT_SEED, MAX_ASPECT, MIN_VISIBLE, draw_scene

SEEDS = [*range(25), HELD_OUT_SEED, HELD_OUT_SEED + 7]


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
