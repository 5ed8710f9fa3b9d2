"""Scenes laid out by hand, a clock that counts its readings, and curves as training writes them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from litelvlm.demo.rendering import BACKGROUND, SceneArrays

NUM_SCENES = 6


def wide_scene() -> SceneArrays:
    """One scene of 48x64 pixels in a frame of 64x64: CLIP's crop is columns 8 to 56.

    Object 0, a small red circle, fills rows 0 to 12 of columns 8 to 20, which is the first patch of a 4x4 grid. Object
    1, a large blue square, fills rows 24 to 48 of columns 32 to 56: the lower right quarter of the crop.
    """
    labels = np.full((1, 64, 64), BACKGROUND, np.uint8)
    labels[0, 0:12, 8:20], labels[0, 24:48, 32:56] = 0, 1
    return SceneArrays(
        clip_pixels=np.zeros((1, 48, 48, 3), np.uint8),
        sam_pixels=np.zeros((1, 64, 64, 3), np.uint8),
        labels=labels,
        sizes_hw=np.array([[48, 64]], np.uint8),
        expressions=[[("the circle", 0), ("the red circle", 0), ("the rightmost square", 1)]],
        descriptions=[["small red circle", "large blue square"]],
    )


class CountingClock:
    """In place of the module `time`: every reading is a second after the one before."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        self._now_s += 1
        return self._now_s


def read_curve(path: Path) -> list[dict[str, float]]:
    """A row for every window of steps."""
    with path.open(newline="") as file:
        return [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(file)]
