"""From the uint8 pixels of `litelvlm.preprocess` to the normalised tensors that the encoders read, on their device."""

from __future__ import annotations

import functools
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from litelvlm.transfer import on_device

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SAM_MEAN, SAM_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def normalize_clip(clip_pixels: list[np.ndarray], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Bx3xSxS, normalised with CLIP's mean and standard deviation; channels lie innermost in memory."""
    images = on_device(np.stack(clip_pixels), device)
    values = images.flatten(2).float().div_(255)
    mean, std = _along_a_row(CLIP_MEAN, CLIP_STD, images.shape[2], device)
    return values.sub_(mean).div_(std).to(dtype).view(images.shape).permute(0, 3, 1, 2)


def clip_planes(rgb: np.ndarray, device: torch.device) -> Tensor:
    """3xhxw float32 of an hxwx3 uint8 image of any size, normalised as CLIP's pixels are."""
    planes = on_device(np.require(rgb, requirements=["C", "W"]), device).permute(2, 0, 1).float() / 255
    return (planes - _channels(CLIP_MEAN, device)) / _channels(CLIP_STD, device)


def normalize_sam(sam_pixels: list[np.ndarray], image_size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Bx3xSxS, normalised with SAM's mean and standard deviation and only then zero-padded right and bottom.

    Channels lie innermost in memory, as in what the pixels come from.
    """
    batch = torch.zeros(len(sam_pixels), image_size, 3 * image_size, device=device, dtype=dtype)
    mean, std = _along_a_row(SAM_MEAN, SAM_STD, image_size, device)
    for row, array in zip(batch, sam_pixels, strict=True):
        height, length = array.shape[0], 3 * array.shape[1]
        values = on_device(np.require(array, requirements=["C", "W"]), device).flatten(1).float()
        row[:height, :length] = values.sub_(mean[:length]).div_(std[:length])
    return batch.unflatten(2, (image_size, 3)).permute(0, 3, 1, 2)


def embed_patches(convolution: nn.Module, pixels: Tensor) -> Tensor:
    """BxGxGxE of pixels Bx3xSxS: a convolution whose patches do not overlap, as one product."""
    weight, bias = cast(nn.Conv2d, convolution).weight, cast(nn.Conv2d, convolution).bias
    side = weight.shape[-1]
    rows = pixels.permute(0, 2, 3, 1).unflatten(2, (-1, side)).unflatten(1, (-1, side))
    return F.linear(rows.transpose(2, 3).flatten(3), weight.permute(0, 2, 3, 1).flatten(1), bias)


@functools.cache
def _along_a_row(
    mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each of a row's 3*width values, so that no loop is three steps long."""
    return tuple(torch.tensor(values, device=device).repeat(width) for values in (mean, std))  # type: ignore[return-value]


@functools.cache
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)[:, None, None]
