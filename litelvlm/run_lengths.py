"""From low-resolution logits to the run lengths of full-size masks, on the logits' device.

SAM enlarges logits to its square input, crops the padding and resizes to the original size, bilinearly each time. Both
steps are linear and work on each axis by itself, so that they are one matrix per axis: `mask = A_h X A_w^T > 0`. Masks
are made transposed, since COCO's runs go down the columns.

* On a GPU that is two matrix products, in bands of columns; only the places where runs end leave the device.
* On a CPU only pixels near the outline are computed: a pixel is a mean of 3x3 neighbouring logits at most, and where
  these agree on the sign, it has their sign.

Shapes: P phrases, L the side of the low-resolution logits, HxW the original size.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BAND_PIXELS = 64_000_000  # float32 pixels that a GPU computes at once: 256 MB
_TAPS = 3  # logits along an axis that a pixel can depend on
_OUTSIDE, _INSIDE, _MIXED = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Axis:
    """How one axis of the logits becomes one axis of the mask, S places.

    Attributes:
        first: S int64, the first of the three logits that a place depends on.
        weights: Sx3 float32, their weights.
    """

    first: NDArray[np.int64]
    weights: NDArray[np.float32]


def mask_run_lengths(
    low_res: Tensor, *, input_size_hw: tuple[int, int], size_hw: tuple[int, int], target: int
) -> list[NDArray[np.int64]]:
    """Run lengths of every phrase's mask: alternating, of zeros first, down the columns, as COCO counts them.

    Args:
        low_res: PxLxL float32.
        input_size_hw: height and width of the resized, not yet padded image.
        size_hw: H and W.
        target: side of the encoder's square input.

    Returns:
        P arrays, each adding up to H * W.
    """
    side = low_res.shape[-1]
    rows, columns = (axis(side, target, *sizes) for sizes in zip(input_size_hw, size_hw, strict=True))
    if low_res.is_cuda:
        return dense_run_lengths(low_res, rows, columns)
    return [_outlined_run_lengths(logits, rows, columns) for logits in low_res.numpy()]


def mask_from_run_lengths(run_lengths: NDArray[np.int64], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The HxW mask that these run lengths stand for."""
    height, width = size_hw
    values = np.arange(len(run_lengths)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, run_lengths).reshape(width, height).T)


def dense_run_lengths(low_res: Tensor, rows: Axis, columns: Axis) -> list[NDArray[np.int64]]:
    """All pixels of PxLxL logits, in bands of columns; the host waits once for each band."""
    height, width, num_phrases = len(rows.first), len(columns.first), len(low_res)
    row_matrix, column_matrix = (_matrix(one, low_res) for one in (rows, columns))
    half = low_res.transpose(1, 2) @ row_matrix.T
    changes: list[list[NDArray[np.int64]]] = [[] for _ in range(num_phrases)]
    before = low_res.new_zeros(num_phrases, 1, dtype=torch.bool)  # runs begin with zeros
    step = max(1, _BAND_PIXELS // max(1, num_phrases * height))
    for start in range(0, width, step):
        flat = (column_matrix[start : start + step] @ half > 0).flatten(1)
        places = (flat != torch.cat([before, flat[:, :-1]], dim=1)).nonzero().cpu().numpy()
        before = flat[:, -1:]
        splits = np.searchsorted(places[:, 0], np.arange(num_phrases + 1))
        for phrase, found in enumerate(changes):
            found.append(places[splits[phrase] : splits[phrase + 1], 1] + start * height)
    return [_between(np.concatenate(found), height * width) for found in changes]


def _outlined_run_lengths(logits: NDArray[np.float32], rows: Axis, columns: Axis) -> NDArray[np.int64]:
    """The same of LxL logits; only pixels whose logits disagree on the sign are computed."""
    height, width = len(rows.first), len(columns.first)
    signs = _signs(logits)
    touched = np.flatnonzero(_take(np.any(signs, axis=0), columns.first))
    if not len(touched):
        return np.array([height * width])
    left, right = int(touched[0]), int(touched[-1]) + 1
    pixels = _take(_take(signs.T, rows.first, 1), columns.first[left:right]).reshape(-1)
    mixed = np.flatnonzero(pixels == _MIXED)
    if len(mixed):
        column, row = np.divmod(mixed, height)
        pixels[mixed] = _pixels(logits, rows, columns, row, column + left) > 0
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    if pixels[0]:
        changes = np.concatenate(([0], changes))
    if pixels[-1]:  # the last run ends with the last touched column, or with the image
        changes = np.concatenate((changes, [len(pixels)] if right < width else []))
    return _between(changes.astype(np.int64) + left * height, height * width)


def _signs(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(L-2)x(L-2): whether all, some or none of the 3x3 logits from each place on are above 0."""
    positive = logits > 0
    some = positive[:-2] | positive[1:-1] | positive[2:]
    every = positive[:-2] & positive[1:-1] & positive[2:]
    some = some[:, :-2] | some[:, 1:-1] | some[:, 2:]
    every = every[:, :-2] & every[:, 1:-1] & every[:, 2:]
    return np.where(every, np.uint8(_INSIDE), np.where(some, np.uint8(_MIXED), np.uint8(_OUTSIDE)))


def _pixels(
    logits: NDArray[np.float32], rows: Axis, columns: Axis, row: NDArray[np.int64], column: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The logits of the pixels at these rows and columns."""
    side = logits.shape[1]
    lines = np.zeros((len(rows.first), side), dtype=np.float32)
    for tap in range(_TAPS):
        lines += _take(logits, rows.first + tap) * rows.weights[:, tap, None]
    flat, at = lines.reshape(-1), row * side + columns.first[column]
    total = np.zeros(len(at), dtype=np.float32)
    for tap in range(_TAPS):
        total += _take(flat, at + tap) * _take(columns.weights[:, tap], column)
    return total


def _take(array: NDArray[Any], index: NDArray[np.int64], axis: int = 0) -> NDArray[Any]:
    """Items of an array; `clip` because it needs no buffer, every index is in range."""
    return np.take(array, index, axis=axis, mode="clip")


def _between(changes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Run lengths from the places, in order, at which the value changes; the value before the first is 0."""
    return np.diff(changes, prepend=0, append=total)


def _matrix(one: Axis, like: Tensor) -> Tensor:
    """An axis as a matrix SxL, on the device and in the dtype of the logits."""
    first, weights = (torch.from_numpy(array).to(like.device, non_blocking=True) for array in (one.first, one.weights))
    taps = first[:, None] + torch.arange(_TAPS, device=like.device)
    return like.new_zeros(len(first), like.shape[-1]).scatter_add(1, taps, weights)


@functools.lru_cache(maxsize=256)
def axis(low: int, target: int, inside: int, size: int) -> Axis:
    """Enlarging an axis from `low` to `target`, keeping the first `inside` places and resizing these to `size`."""
    enlarged_at, enlarged_weights = _bilinear(low, target)
    resized_at, resized_weights = _bilinear(inside, size)
    at = enlarged_at[resized_at].reshape(size, 4)
    weights = (enlarged_weights[resized_at] * resized_weights[:, :, None]).reshape(size, 4)
    first = np.minimum(at[:, 0], low - _TAPS)
    assert (at[:, -1] < first + _TAPS).all(), "a pixel depends on three logits along an axis at most"
    taps = np.zeros((size, _TAPS))
    np.add.at(taps, (np.arange(size)[:, None], at - first[:, None]), weights)
    return Axis(first=first, weights=taps.astype(np.float32))


def _bilinear(source: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The two places that each of `size` is read from, and their weights, both size x 2, as in
    `torch.nn.functional.interpolate` (align_corners=False), whose coordinates are float32."""
    scale = np.float32(source) / np.float32(size)
    at = np.maximum(scale * (np.arange(size, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), np.float32(0))
    first = np.minimum(at.astype(np.int64), source - 1)
    weight = (at - first.astype(np.float32)).astype(np.float64)
    places = np.stack([first, np.minimum(first + 1, source - 1)], axis=1)
    return places, np.stack([1 - weight, weight], axis=1)
