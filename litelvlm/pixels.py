"""From the uint8 pixels of `litelvlm.preprocess` to the normalised tensors that the encoders read, on their device."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from litelvlm.transfer import on_device

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SAM_MEAN, SAM_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def normalize_clip(clip_pixels: list[np.ndarray], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Bx3xSxS, normalised with CLIP's mean and standard deviation."""
    pixels = on_device(np.stack(clip_pixels), device).permute(0, 3, 1, 2).float() / 255
    return ((pixels - _channels(CLIP_MEAN, device)) / _channels(CLIP_STD, device)).to(dtype)


def clip_planes(rgb: np.ndarray, device: torch.device) -> Tensor:
    """3xhxw float32 of an hxwx3 uint8 image of any size, normalised as CLIP's pixels are."""
    planes = on_device(np.require(rgb, requirements=["C", "W"]), device).permute(2, 0, 1).float() / 255
    return (planes - _channels(CLIP_MEAN, device)) / _channels(CLIP_STD, device)


def normalize_sam(sam_pixels: list[np.ndarray], image_size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Bx3xSxS, normalised with SAM's mean and standard deviation and only then zero-padded right and bottom."""
    batch = torch.zeros(len(sam_pixels), 3, image_size, image_size, device=device, dtype=dtype)
    for row, array in enumerate(sam_pixels):
        pixels = on_device(np.require(array, requirements=["C", "W"]), device).permute(2, 0, 1).float()
        height, width = array.shape[:2]
        batch[row, :, :height, :width] = (pixels - _channels(SAM_MEAN, device)) / _channels(SAM_STD, device)
    return batch


@functools.cache
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)[:, None, None]
