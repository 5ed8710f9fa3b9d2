"""A hash that near-duplicates of an image share, but for a few bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 8
_READ = 128  # pixels of the shorter side that are read at least, where there are as many


def perceptual_hash(rgb: NDArray[np.uint8]) -> str:
    """The difference hash of an upright (H, W, 3) uint8 image, 16 hex digits.

    Each of 64 bits says whether a cell of 9x8 grey ones is darker than the one to its right. Copies of another size or
    quality differ in a few bits; images without contrast all have the same hash.
    """
    step = max(1, min(rgb.shape[:2]) // _READ)
    grey = Image.fromarray(np.ascontiguousarray(rgb[::step, ::step])).convert("L")
    cells = np.asarray(grey.resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)).astype(np.int16)
    return np.packbits(cells[:, :-1] < cells[:, 1:]).tobytes().hex()
