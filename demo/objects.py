"""What a scene is made of: the words for shapes, colours and sizes, and the silhouettes behind the words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 36, 42),
    "green": (40, 160, 60),
    "blue": (38, 78, 214),
    "yellow": (240, 214, 40),
    "purple": (146, 48, 172),
    "orange": (242, 132, 24),
    "white": (240, 240, 240),
}
# Diameter as a fraction of the image's shortest side. The gap keeps "small" and "large" unambiguous.
SIZES: dict[str, tuple[float, float]] = {"small": (0.16, 0.20), "large": (0.28, 0.36)}


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One object of a scene.

    `centre_xy` is in units of the scene's central square, (0, 0) its top left corner and (1, 1) its bottom right one;
    `diameter` is a fraction of that square's side; `angle` is in radians, counter-clockwise.
    """

    shape: str
    colour: str
    size: str
    centre_xy: tuple[float, float]
    diameter: float
    angle: float


def _star_vertices() -> np.ndarray:
    """Vertices (10, 2) of a five-pointed star of circumradius 1, the first point up."""
    angles = np.arange(10) * math.pi / 5 - math.pi / 2
    radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.45)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


_STAR = _star_vertices()


def _inside_polygon(u: np.ndarray, v: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Even-odd rule: which points (u, v) lie inside the polygon."""
    inside = np.zeros(u.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
        crosses = (y0 > v) != (y1 > v)
        inside ^= crosses & (u < (x1 - x0) * (v - y0) / (y1 - y0) + x0)
    return inside


def silhouette(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Which points lie on the shape, in its own frame (v down, the unit circle touching its outermost points).

    Args:
        shape: one of `SHAPES`.
        u, v: coordinates, any one shape.

    Returns:
        Boolean array of the coordinates' shape.

    Raises:
        ValueError: for an unknown shape.
    """
    if shape == "circle":
        return u * u + v * v <= 0.9
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) <= 0.8
    if shape == "triangle":
        return (v <= 0.7) & (v >= 1.9 * np.abs(u) - 1.0)
    if shape == "star":
        return _inside_polygon(u, v, _STAR)
    if shape == "cross":
        a, b = np.abs(u), np.abs(v)
        return (np.maximum(a, b) <= 0.95) & (np.minimum(a, b) <= 0.32)
    raise ValueError(f"shape {shape!r} is unknown; choose one of {', '.join(SHAPES)}")
