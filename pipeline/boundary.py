"""Boundary F measure of DAVIS (Perazzi et al., CVPR 2016, section 4; `davis2017/metrics.py`, `f_measure`).

A boundary pixel counts as found when the other mask has a boundary pixel within a tolerance, a disk of radius
ceil(0.008 x image diagonal) pixels: 0.8 % of the diagonal, 7 pixels at 640x480. F is the harmonic mean of the
precision of the predicted and the recall of the true boundary. Two masks without any boundary agree: F = 1.

Shapes: masks are (H, W) bool.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 0.008
Mask = NDArray[np.bool_]


def boundary_f(predicted: Mask, true: Mask, *, tolerance: float = TOLERANCE) -> float:
    """F of a predicted mask against the true one, 0 to 1. `tolerance` is a share of the image's diagonal.

    Raises ValueError when the shapes differ.
    """
    if predicted.shape != true.shape:
        raise ValueError(f"masks of different sizes: {predicted.shape} and {true.shape}")
    radius = math.ceil(tolerance * math.hypot(*true.shape))
    predicted, true = _around(predicted, true, radius)
    found, wanted = boundary(predicted), boundary(true)
    num_found, num_wanted = np.count_nonzero(found), np.count_nonzero(wanted)
    if not num_found or not num_wanted:
        return 1.0 if num_found == num_wanted else 0.0
    precision = np.count_nonzero(found & dilate(wanted, radius)) / num_found
    recall = np.count_nonzero(wanted & dilate(found, radius)) / num_wanted
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def boundary(mask: Mask) -> Mask:
    """Pixels that differ from their right, lower or lower right neighbour; at the last row and column, where there is
    no such neighbour, from the one that there is."""
    edges = np.zeros_like(mask)
    edges[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edges[:-1, :] |= mask[:-1, :] != mask[1:, :]
    edges[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edges


def dilate(mask: Mask, radius: int) -> Mask:
    """A mask grown by a disk: every pixel within `radius` (Euclidean, in pixels) of one that is inside.

    A row at a time: the disk's row at height dy is an interval, and whether an interval holds a pixel is a difference
    of running sums.
    """
    height, width = mask.shape
    sums = np.zeros((height, width + 2 * radius + 1), dtype=np.int32)
    np.cumsum(mask, axis=1, out=sums[:, radius + 1 : radius + 1 + width])
    sums[:, radius + 1 + width :] = sums[:, radius + width, None]
    grown = np.zeros_like(mask)
    most = min(radius, height - 1)
    for dy in range(-most, most + 1):
        reach = math.isqrt(radius * radius - dy * dy)
        hit = sums[:, radius + reach + 1 :][:, :width] > sums[:, radius - reach :][:, :width]
        rows = slice(max(0, dy), height + min(0, dy))
        grown[rows] |= hit[max(0, -dy) : height - max(0, dy)]
    return grown


def _around(predicted: Mask, true: Mask, radius: int) -> tuple[Mask, Mask]:
    """Both masks cut to what they touch, with a margin that keeps boundaries and tolerance as they are."""
    either = predicted | true
    rows, columns = np.flatnonzero(either.any(axis=1)), np.flatnonzero(either.any(axis=0))
    if not rows.size:
        return predicted[:1, :1], true[:1, :1]
    margin = radius + 2
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    window = slice(top, rows[-1] + margin + 1), slice(left, columns[-1] + margin + 1)
    return predicted[window], true[window]
