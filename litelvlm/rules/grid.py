"""Where visual tokens lie in the image: patches in raster order on a grid as square as their number allows."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def grid_width(num_tokens: int) -> int:
    """Patches in a row of the grid."""
    return math.isqrt(num_tokens - 1) + 1


@lru_cache(64)
def z_ranks(num_tokens: int) -> np.ndarray:
    """V int64: each token's place along the Z-order curve of the grid, on which neighbours lie together."""
    rows, columns = np.divmod(np.arange(num_tokens), grid_width(num_tokens))
    code = np.zeros(num_tokens, dtype=np.int64)
    for bit in range(12):
        code |= (columns >> bit & 1) << (2 * bit) | (rows >> bit & 1) << (2 * bit + 1)
    ranks = np.empty(num_tokens, dtype=np.int64)
    ranks[np.argsort(code)] = np.arange(num_tokens)
    return ranks


def neighbourhoods(num_tokens: int, count: int, like: Tensor) -> Tensor:
    """V int64 on the device of `like`: which of `count` runs of the Z-order curve, equally long but for one token, each
    token is in."""
    import torch

    return torch.from_numpy(z_ranks(num_tokens) * count // num_tokens).to(like.device, non_blocking=True)


def distances(num_tokens: int, like: Tensor) -> Tensor:
    """VxV distances between tokens on the grid in the dtype and on the device of `like`, as shares of its diagonal."""
    import torch

    width = grid_width(num_tokens)
    rows, columns = np.divmod(np.arange(num_tokens), width)
    squares = (rows[:, None] - rows) ** 2 + (columns[:, None] - columns) ** 2
    shares = np.sqrt(squares.astype(np.float64)) / math.sqrt(2 * max(width - 1, 1) ** 2)
    return torch.from_numpy(shares).to(like.dtype).to(like.device, non_blocking=True)
