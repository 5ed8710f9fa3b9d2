"""The metrics of referring segmentation, as the field defines them.

| name | definition | from |
|---|---|---|
| cIoU | sum of intersections over sum of unions | groundingLMM, `eval/referring_seg/infer_and_evaluate.py` |
| gIoU | mean over expressions of IoU; 1 where both masks are empty, 0 where only one is | the same file |
| P@t | share of the expressions with a target whose IoU is at least t | ReLA, `evaluation/refer_evaluation.py` |
| N-acc | share of the expressions without a target that get an empty mask | the same file |
| T-acc | share of the expressions with a target that get a mask at all | the same file |
| F | mean boundary F measure, see `evaluation.boundary` | DAVIS 2017, `metrics.py` |

GLaMM's file adds 1e-5 to every union before it divides, which changes gIoU by less than 1e-7 for objects of 100 pixels;
that is left out here. ReLA's own cIoU and gIoU are these where a model says "no target" by an empty mask, for which one
that rejects the expression (status `absent`) counts here.

Shapes: N expressions, B bootstrap samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PRECISION_AT = (0.5, 0.6, 0.7, 0.8, 0.9)
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def mask_intersection(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> int:
    """Pixels that two (H, W) bool masks have in common. Raises ValueError when their shapes differ."""
    if first.shape != second.shape:
        raise ValueError(f"masks of different sizes: {first.shape} and {second.shape}")
    return int(np.count_nonzero(first & second))


def iou_per_expression(intersection: Ints, union: Ints) -> Floats:
    """IoU of N expressions, N float64; 1 where the union is empty: an empty answer to an empty truth is right."""
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0)


def compute_metrics(
    intersection: Ints, predicted_area: Ints, true_area: Ints, boundary_f: Floats | None = None
) -> dict[str, float | None]:
    """All metrics of N expressions by name, as shares of 1; None where no expression counts for one."""
    union = predicted_area + true_area - intersection
    iou = iou_per_expression(intersection, union)
    has_target = true_area > 0
    values: dict[str, float | None] = {
        "ciou": _ratio(int(intersection.sum()), int(union.sum())),
        "giou": _mean(iou),
        **{f"p_at_{at:.1f}": _mean(iou[has_target] >= at) for at in PRECISION_AT},
        "n_acc": _mean(predicted_area[~has_target] == 0),
        "t_acc": _mean(predicted_area[has_target] > 0),
    }
    known = boundary_f[~np.isnan(boundary_f)] if boundary_f is not None else np.zeros(0)
    return {**values, "boundary_f": _mean(known)}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _mean(values: NDArray[np.generic]) -> float | None:
    return float(values.mean()) if values.size else None
