"""What CLIP is shown of a mask: the square around it, with all that the mask leaves out faded to grey.

Everything is computed where the logits are, without waiting for a value. Shapes: P masks of one image, LxL their
low-resolution logits over the encoder's square input of T pixels a side, SxS a crop.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import roi_align

MARGIN = 0.15  # around the mask's box, of its longer side
KEPT_OUTSIDE = 0.0  # of what lies beside the mask, how much is seen; benchmarks/signals.py compares shares
_LEAST_CELLS = 2.0  # of the low-resolution grid, that a box has a side


def masked_crops(pixels: Tensor, logits: Tensor, *, target: int, size: int, kept: float = KEPT_OUTSIDE) -> Tensor:
    """Crops of an image around its masks, Px3xSxS; all grey where a mask is empty.

    Args:
        pixels: 3xhxw float32 normalised so that 0 is grey, resized for the mask's encoder, not yet padded.
        logits: PxLxL float32.
        target: T.
        size: S.
        kept: share of what lies beside the mask, 0 to 1.
    """
    height, width = pixels.shape[-2:]
    scale = target / logits.shape[-1]
    squares = _squares(covered(logits, (height, width), target), scale)
    shown = _cut(pixels[None], torch.zeros_like(squares[:, :1]), squares, size, 1.0)
    numbers = torch.arange(len(logits), device=logits.device, dtype=squares.dtype)[:, None]
    inside = _cut(logits[:, None].float(), numbers, squares, size, 1 / scale) > 0
    inside &= _within(squares, (height, width), size)[:, None]
    return torch.where(inside, shown, shown * kept)


def covered(logits: Tensor, size_hw: tuple[int, int], target: int) -> Tensor:
    """PxLxL bool: the masks, without the padding beside an image of this size."""
    side = logits.shape[-1]
    rows, columns = ((one * side + target - 1) // target for one in size_hw)
    index = torch.arange(side, device=logits.device)
    return (logits > 0) & (index < rows)[:, None] & (index < columns)


def _squares(masks: Tensor, scale: float) -> Tensor:
    """The squares around P masks and a margin, Px4 in pixels: left, top, right, bottom; those of empty ones any."""
    columns, rows = (masks.any(axis) for axis in (1, 2))
    left, right = _ends(columns)
    top, bottom = _ends(rows)
    half = torch.maximum(right - left, bottom - top).clamp(min=_LEAST_CELLS) * (0.5 + MARGIN)
    x, y = (left + right) / 2, (top + bottom) / 2
    return torch.stack([x - half, y - half, x + half, y + half], dim=1) * scale


def _ends(some: Tensor) -> tuple[Tensor, Tensor]:
    """First place, and the one behind the last, at which each row of PxL is true; float32."""
    numbers = some.to(torch.uint8)
    return numbers.argmax(1).float(), some.shape[1] - numbers.flip(1).argmax(1).float()


def _cut(maps: Tensor, numbers: Tensor, squares: Tensor, size: int, scale: float) -> Tensor:
    """PxCxSxS: each square of its map, as the mean of bilinear samples."""
    return roi_align(maps, torch.cat([numbers, squares], dim=1), size, spatial_scale=scale, aligned=True)


def _within(squares: Tensor, size_hw: tuple[int, int], size: int) -> Tensor:
    """PxSxS bool: which pixels of the crops lie in the image."""
    step = (torch.arange(size, device=squares.device) + 0.5) / size
    left, top, right, bottom = squares[:, :, None].unbind(1)
    x, y = left + step * (right - left), top + step * (bottom - top)
    return ((y >= 0) & (y < size_hw[0]))[:, :, None] & ((x >= 0) & (x < size_hw[1]))[:, None, :]
