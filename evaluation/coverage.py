"""How much of the object the language model could see: the share of its patches among the tokens that were kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SAMPLES = 4  # along each side of a patch
_MIN_SHARE = 0.25


def object_patches(mask: NDArray[np.bool_], num_patches: int) -> NDArray[np.bool_]:
    """Which of CLIP's patches an (H, W) mask fills by a quarter or more; num_patches bool, in raster order."""
    return patch_shares(mask, num_patches) >= _MIN_SHARE


def patch_shares(mask: NDArray[np.bool_], num_patches: int) -> NDArray[np.float64]:
    """How much of each of CLIP's patches an (H, W) mask fills, in sixteenths; num_patches float64, in raster order.

    CLIP sees the central square of the image, `num_patches` patches in as many rows as columns.
    """
    grid = round(num_patches**0.5)
    height, width = mask.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    samples = ((np.arange(_SAMPLES * grid) + 0.5) * side / (_SAMPLES * grid)).astype(int)
    crop = mask[np.ix_(top + samples, left + samples)]
    return crop.reshape(grid, _SAMPLES, grid, _SAMPLES).mean(axis=(1, 3)).ravel()


def coverage(patches: NDArray[np.bool_], retained: NDArray[np.int64]) -> float | None:
    """The share of the object's patches among those retained; None where the object has none in CLIP's view."""
    touched = int(np.count_nonzero(patches))
    return int(np.count_nonzero(patches[retained])) / touched if touched else None
