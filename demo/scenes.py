"""Procedural scenes: textured backgrounds, several objects, phrases that refer to exactly one of them, exact masks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from litelvlm.demo.objects import COLOURS, SHAPES, SIZES, SceneObject, silhouette
from litelvlm.demo.phrases import DrawnPhrase, choose_expressions, list_expressions

# Held-out scenes have seeds from here on; training seeds stay below.
HELD_OUT_SEED = 1_000_000_000
NUM_OBJECTS = (3, 6)
NUM_PHRASES = (2, 4)
SIDE_PX = (160, 300)
MAX_ASPECT = 4 / 3
MIN_VISIBLE = 0.75
BACKGROUNDS = ("noise", "gradient", "stripes", "checks")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A drawn scene.

    Attributes:
        seed: what it was drawn from.
        image: (H, W, 3) uint8 RGB.
        phrases: 2 to 4 referring expressions.
        masks: (P, H, W) bool, the visible pixels of each phrase's object.
        expressions: the phrases with their kinds and targets.
        objects: all objects, the first one furthest back.
        object_masks: (N, H, W) bool, the visible pixels of each object.
    """

    seed: int
    image: np.ndarray
    phrases: list[str]
    masks: np.ndarray
    expressions: list[DrawnPhrase]
    objects: list[SceneObject]
    object_masks: np.ndarray


def _smooth_field(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Random (H, W) float32 field in [-1, 1], linearly interpolated from cells x cells knots."""
    knots = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)

    def weights(length: int) -> np.ndarray:
        place = np.linspace(0, cells - 1, length, dtype=np.float32)[:, None]
        return np.maximum(0, 1 - np.abs(place - np.arange(cells, dtype=np.float32)))

    return weights(height) @ knots @ weights(width).T


def _pattern(rng: np.random.Generator, kind: str, height: int, width: int) -> np.ndarray:
    """The background's mixing weight between its two tones, (H, W) float32 in [0, 1]."""
    if kind == "noise":
        return 0.5 + 0.5 * _smooth_field(rng, height, width, int(rng.integers(5, 14)))
    angle = rng.uniform(0, math.pi)
    y = np.arange(height, dtype=np.float32)[:, None] / min(height, width)
    x = np.arange(width, dtype=np.float32)[None, :] / min(height, width)
    along = np.float32(math.cos(angle)) * x + np.float32(math.sin(angle)) * y
    if kind == "gradient":
        return (along - along.min()) / np.ptp(along)
    period = np.float32(rng.uniform(0.08, 0.25))
    stripes = np.mod(along / period, 1) < 0.5
    if kind == "checks":
        across = np.float32(-math.sin(angle)) * x + np.float32(math.cos(angle)) * y
        stripes = stripes ^ (np.mod(across / period, 1) < 0.5)
    return stripes.astype(np.float32)


def _draw_background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(H, W, 3) float32: two muted tones mixed by a pattern, uneven light and fine grain on top."""
    kind = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    grey = rng.uniform(50, 150)
    tones = grey + rng.uniform(-22, 22, (2, 3)).astype(np.float32)
    tones[1] += np.float32(rng.uniform(-30, 30))
    mix = _pattern(rng, kind, height, width)
    light = 12 * _smooth_field(rng, height, width, 4) + 6 * rng.standard_normal((height, width), dtype=np.float32)
    return tones[0] + mix[..., None] * (tones[1] - tones[0]) + light[..., None]


def _place_objects(rng: np.random.Generator) -> list[SceneObject]:
    """Objects with few colours and shapes among them, so that phrases have real distractors, and little overlap."""
    count = int(rng.integers(NUM_OBJECTS[0], NUM_OBJECTS[1] + 1))
    shapes = rng.choice(len(SHAPES), size=min(len(SHAPES), int(rng.integers(2, 4))), replace=False)
    colours = rng.choice(len(COLOURS), size=int(rng.integers(2, 4)), replace=False)
    names = list(COLOURS)
    placed: list[SceneObject] = []
    for _ in range(60):
        if len(placed) == count:
            break
        size = "large" if rng.random() < 0.45 else "small"
        diameter = float(rng.uniform(*SIZES[size]))
        low, high = diameter / 2 + 0.01, 0.99 - diameter / 2
        item = SceneObject(
            shape=SHAPES[int(rng.choice(shapes))],
            colour=names[int(rng.choice(colours))],
            size=size,
            centre_xy=(float(rng.uniform(low, high)), float(rng.uniform(low, high))),
            diameter=diameter,
            angle=float(rng.uniform(-0.3, 0.3)),
        )
        if all(math.dist(item.centre_xy, o.centre_xy) >= 0.43 * (item.diameter + o.diameter) for o in placed):
            placed.append(item)
    return placed


def _draw_object(
    rng: np.random.Generator, canvas: np.ndarray, item: SceneObject, origin_xy: tuple[float, float], side: int
) -> np.ndarray:
    """Paint one object on the (H, W, 3) float32 canvas and return its (H, W) bool silhouette."""
    height, width = canvas.shape[:2]
    radius = item.diameter * side / 2
    cx = origin_xy[0] + item.centre_xy[0] * side
    cy = origin_xy[1] + item.centre_xy[1] * side
    top, left = max(0, math.floor(cy - radius)), max(0, math.floor(cx - radius))
    bottom, right = min(height, math.ceil(cy + radius) + 1), min(width, math.ceil(cx + radius) + 1)
    y = ((np.arange(top, bottom) + 0.5 - cy) / radius)[:, None]
    x = ((np.arange(left, right) + 0.5 - cx) / radius)[None, :]
    cos, sin = math.cos(item.angle), math.sin(item.angle)
    inside = silhouette(item.shape, cos * x - sin * y, sin * x + cos * y)

    shade_angle = rng.uniform(0, 2 * math.pi)
    shade = 1 + 0.14 * (math.cos(shade_angle) * x + math.sin(shade_angle) * y)
    base = np.array(COLOURS[item.colour], dtype=np.float32) + rng.uniform(-12, 12, 3)
    grain = rng.uniform(2, 10) * rng.standard_normal(inside.shape, dtype=np.float32)
    paint = base * shade[..., None] + grain[..., None]
    canvas[top:bottom, left:right][inside] = paint[inside]

    mask = np.zeros((height, width), dtype=bool)
    mask[top:bottom, left:right] = inside
    return mask


def _image_size_hw(rng: np.random.Generator, size: int | None) -> tuple[int, int]:
    side = int(rng.integers(SIDE_PX[0], SIDE_PX[1] + 1)) if size is None else size
    longer = round(side * float(rng.choice([1.0, rng.uniform(1.0, MAX_ASPECT)])))
    return (side, longer) if rng.random() < 0.6 else (longer, side)


def _draw(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[np.ndarray, list[SceneObject], np.ndarray]:
    """Image, objects and visible masks of one attempt."""
    height, width = size_hw
    side = min(size_hw)
    origin_xy = ((width - side) / 2, (height - side) / 2)
    canvas = _draw_background(rng, height, width)
    objects = _place_objects(rng)
    masks = np.zeros((len(objects), height, width), dtype=bool)
    for index, item in enumerate(objects):
        masks[index] = _draw_object(rng, canvas, item, origin_xy, side)
    areas = masks.sum(axis=(1, 2))
    for index in range(len(objects) - 2, -1, -1):
        masks[index] &= ~masks[index + 1 :].any(axis=0)
    visible = masks.sum(axis=(1, 2)) >= MIN_VISIBLE * areas
    image = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    return image, objects if visible.all() else [], masks


def draw_scene(seed: int, *, size: int | None = None) -> Scene:
    """Draw the scene of a seed; the same seed and size give the same scene.

    Args:
        seed: any non-negative integer; `HELD_OUT_SEED` and above are never trained on.
        size: shortest side in pixels; None draws it from 160 to 300. The longer side is up to 4/3 of it, and all
            objects lie in the central square, which CLIP's centre crop keeps.

    Raises:
        ValueError: if `size` is below 32.
    """
    if size is not None and size < 32:
        raise ValueError(f"size is {size} px, but shapes cannot be told apart below 32 px")
    rng = np.random.default_rng(seed)
    size_hw = _image_size_hw(rng, size)
    while True:
        image, objects, object_masks = _draw(rng, size_hw)
        expressions = list_expressions(objects)
        if len(objects) < NUM_OBJECTS[0] or len(expressions) < NUM_PHRASES[0]:
            continue
        chosen = choose_expressions(expressions, int(rng.integers(NUM_PHRASES[0], NUM_PHRASES[1] + 1)), rng)
        return Scene(
            seed=seed,
            image=image,
            phrases=[expression.text for expression in chosen],
            masks=object_masks[[expression.target for expression in chosen]],
            expressions=chosen,
            objects=objects,
            object_masks=object_masks,
        )
