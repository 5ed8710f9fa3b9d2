"""Masks as COCO run lengths: exact, compact, and byte for byte what pycocotools writes.

Shapes: a mask is (H, W) bool. Run lengths go down the columns, as COCO defines them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask


@dataclass(frozen=True, kw_only=True)
class EncodedMask:
    """A mask as compressed run lengths.

    `size_hw` in pixels, `counts` the ASCII string of COCO, `area` in pixels, `bbox_xywh` the tight box in pixels, all
    zero when the mask is empty.
    """

    size_hw: tuple[int, int]
    counts: str
    area: int
    bbox_xywh: tuple[float, float, float, float]

    def as_coco(self) -> dict[str, object]:
        """The `segmentation` value of a COCO annotation."""
        return {"size": list(self.size_hw), "counts": self.counts}


def no_mask(size_hw: tuple[int, int]) -> EncodedMask:
    """A mask of an image of this size without a pixel in it."""
    return encode_run_lengths(np.array([size_hw[0] * size_hw[1]]), size_hw)


def encode_run_lengths(lengths: NDArray[np.int64], size_hw: tuple[int, int]) -> EncodedMask:
    """Encode alternating run lengths, of zeros first, down the columns of an image of this size.

    Raises ValueError when they do not fill the size exactly.
    """
    height, width = size_hw
    if (lengths < 0).any() or int(lengths.sum()) != height * width:
        raise ValueError(f"lengths: do not fill {height}x{width}")
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": lengths.tolist()}, height, width)
    left, top, box_width, box_height = coco_mask.toBbox(rle).tolist()
    return EncodedMask(
        size_hw=(height, width),
        counts=rle["counts"].decode("ascii"),
        area=int(lengths[1::2].sum()),
        bbox_xywh=(left, top, box_width, box_height),
    )


def encode_mask(mask: NDArray[np.bool_]) -> EncodedMask:
    """Encode an (H, W) mask, bool or integer (non-zero is inside). Raises ValueError as `run_lengths` does."""
    return encode_run_lengths(run_lengths(mask), mask.shape)


def encode_answers(result: Any) -> Iterator[EncodedMask]:
    """The masks of a `litelvlm.AnnotationResult`, one for each phrase; empty where the model says it is absent."""
    height, width = result.size_hw
    nothing = np.array([height * width])
    absent = [False] * len(result.run_lengths) if result.absent is None else result.absent
    masks = zip(result.run_lengths, absent, strict=True)
    return (encode_run_lengths(nothing if is_absent else found, result.size_hw) for found, is_absent in masks)


def run_lengths(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Alternating run lengths, of zeros first, down the columns of an (H, W) mask.

    Only the columns that the mask touches are scanned, which makes a small object in a large image cheap. Raises
    ValueError unless the array is two-dimensional with at least one pixel.
    """
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"mask: expected shape (H, W) with at least one pixel, got {mask.shape}")
    inside = mask if mask.dtype == np.bool_ else mask != 0
    height, width = inside.shape
    columns = np.flatnonzero(inside.any(axis=0))
    if columns.size == 0:
        return np.array([height * width])
    left, right = int(columns[0]), int(columns[-1]) + 1
    return _runs(inside[:, left:right], before=left * height, after=(width - right) * height)


def decode_mask(mask: EncodedMask) -> NDArray[np.bool_]:
    """The (H, W) bool mask of an encoding. Raises ValueError when the run lengths do not fill the size exactly.

    Decoded here and checked, since pycocotools returns uninitialised memory for run lengths that are too short.
    """
    height, width = mask.size_hw
    runs = _parse_counts(mask.counts)
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise ValueError(f"mask: run lengths do not fill {height}x{width}")
    values = np.arange(runs.size) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, runs).reshape(width, height).T)


def mask_overlap(first: EncodedMask, second: EncodedMask) -> tuple[int, int]:
    """Intersection and union in pixels, without decoding. Raises ValueError when the sizes differ."""
    if first.size_hw != second.size_hw:
        raise ValueError(f"masks of different sizes: {first.size_hw} and {second.size_hw}")
    pair = [{"size": list(mask.size_hw), "counts": mask.counts.encode("ascii")} for mask in (first, second)]
    common = int(coco_mask.area(coco_mask.merge(pair, intersect=True)))
    return common, first.area + second.area - common


def mask_iou(first: EncodedMask, second: EncodedMask) -> float:
    """Intersection over union; 1.0 when both are empty. Raises ValueError when the sizes differ."""
    common, union = mask_overlap(first, second)
    return common / union if union else 1.0


def _runs(touched: NDArray[np.bool_], *, before: int, after: int) -> NDArray[np.int64]:
    """Alternating run lengths, zeros first, of the columns in `touched` with `before` and `after` zeros around them."""
    flat = np.ascontiguousarray(touched.T).ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(changes, prepend=0, append=flat.size)
    if flat[0]:
        runs = np.concatenate(([before], runs))
    else:
        runs[0] += before
    if not flat[-1]:
        runs[-1] += after
    elif after:
        runs = np.concatenate((runs, [after]))
    return runs


def _parse_counts(counts: str) -> NDArray[np.int64]:
    """Run lengths from COCO's string: 5 bits a character, lowest first, from the fourth on as differences two back."""
    codes = np.frombuffer(counts.encode("ascii", errors="replace"), dtype=np.uint8).astype(np.int64) - 48
    is_last = (codes & 0x20) == 0
    if codes.size == 0 or not is_last[-1] or codes.min() < 0 or codes.max() > 0x3F:
        raise ValueError("mask: not a run-length string")
    starts = np.concatenate(([0], np.flatnonzero(is_last)[:-1] + 1))
    lengths = np.diff(starts, append=codes.size)
    if lengths.max() > 7:
        raise ValueError("mask: a run length is out of range")
    shifts = 5 * (np.arange(codes.size) - np.repeat(starts, lengths))
    values = np.add.reduceat((codes & 0x1F) << shifts, starts)
    is_negative = (codes[is_last] & 0x10) != 0
    values[is_negative] -= np.int64(1) << (5 * lengths[is_negative])
    values[1::2] = np.cumsum(
        values[1::2]
    )  # each run from the fourth on is stored as its difference to the run two before
    values[2::2] = np.cumsum(values[2::2])
    return values
