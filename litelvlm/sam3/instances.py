"""From a phrase's instances to its one mask: their union, as run lengths; no full-size mask leaves the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from litelvlm.run_lengths import mask_run_lengths

MASK_THRESHOLD = 0.5  # of a pixel's probability, as in transformers' post-processing


def instance_scores(pred_logits: Tensor, presence_logits: Tensor) -> Tensor:
    """PxQ float32 in [0, 1]: how likely each of Q queries is an instance of the phrase, times that there is any."""
    return pred_logits.float().sigmoid() * presence_logits.float().sigmoid()


def phrase_mask(pred_masks: Tensor, kept: Tensor, size_hw: tuple[int, int]) -> NDArray[np.int64]:
    """Run lengths of the union of a phrase's kept instances, at the image's size.

    Each instance's probabilities are enlarged bilinearly and thresholded, as transformers does, before they are joined.

    Args:
        pred_masks: QxLxL logits of the queries.
        kept: Q bool.
        size_hw: H and W.
    """
    return union(instance_run_lengths(pred_masks[kept], size_hw), size_hw[0] * size_hw[1])


def instance_run_lengths(pred_masks: Tensor, size_hw: tuple[int, int]) -> list[NDArray[np.int64]]:
    """Run lengths of KxLxL logits, each enlarged and thresholded by itself."""
    if not len(pred_masks):
        return []
    side = pred_masks.shape[-1]
    above = pred_masks.float().sigmoid() - MASK_THRESHOLD  # weights of a pixel add up to one: > 0 is > the threshold
    return mask_run_lengths(above, input_size_hw=(side, side), size_hw=size_hw, target=side)


def union(run_lengths: Sequence[NDArray[np.int64]], num_pixels: int) -> NDArray[np.int64]:
    """Run lengths of what is in any of the masks; alternating, of zeros first, as COCO counts them."""
    starts, ends = [], []
    for lengths in run_lengths:
        edges = np.cumsum(lengths)
        if len(edges) % 2:
            edges = edges[:-1]
        starts.append(edges[::2])
        ends.append(edges[1::2])
    start, end = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (starts, ends))
    order = np.argsort(start, kind="stable")
    start, reached = start[order], np.maximum.accumulate(end[order]) if len(end) else end
    if not len(start):
        return np.array([num_pixels])
    opens = np.concatenate(([True], start[1:] > reached[:-1]))
    closes = np.concatenate((opens[1:], [True]))
    edges = np.stack([start[opens], reached[closes]], axis=1).reshape(-1)
    lengths = np.diff(edges, prepend=0, append=num_pixels)
    return lengths if lengths[-1] else lengths[:-1]
