"""Masks of boxes, and pairs of any masks for hypothesis."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def box(height: int, width: int, top: int, left: int, bottom: int, right: int) -> Mask:
    """A (height, width) mask of the pixels from `top`, `left` to before `bottom`, `right`."""
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


EMPTY = box(10, 20, 0, 0, 0, 0)
LEFT = box(10, 20, 0, 0, 10, 10)  # 100 pixels
MIDDLE = box(10, 20, 0, 5, 10, 15)  # 100 pixels, 50 of them in LEFT
CORNER = box(10, 20, 0, 0, 5, 10)  # 50 pixels, all in LEFT

MASK_PAIRS: st.SearchStrategy[tuple[Mask, Mask]] = npst.array_shapes(min_dims=2, max_dims=2, max_side=40).flatmap(
    lambda shape: st.tuples(npst.arrays(np.bool_, shape), npst.arrays(np.bool_, shape))
)
