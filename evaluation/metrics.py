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
that is left out here. ReLA's own cIoU and gIoU are these where a model says "no target" by an empty mask, as this does.

Shapes: N expressions, B bootstrap samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from litelvlm.pipeline.masks import EncodedMask

PRECISION_AT = (0.5, 0.6, 0.7, 0.8, 0.9)
METRICS = ("ciou", "giou", *(f"p_at_{at:.1f}" for at in PRECISION_AT), "n_acc", "t_acc", "boundary_f")
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def intersections(first: Sequence[EncodedMask], second: Sequence[EncodedMask]) -> list[int]:
    """Pixels that masks have in common, pair by pair, from their run lengths alone.

    pycocotools walks the run lengths in C and returns IoU; with both areas known, the intersection is a whole number
    again: I = IoU (A + B) / (1 + IoU).

    Raises ValueError when the two sizes of a pair differ.
    """
    common = []
    for one, other in zip(first, second, strict=True):
        if one.size_hw != other.size_hw:
            raise ValueError(f"masks of different sizes: {one.size_hw} and {other.size_hw}")
        if not one.area or not other.area:
            common.append(0)
            continue
        pair = [{"size": list(mask.size_hw), "counts": mask.counts.encode("ascii")} for mask in (one, other)]
        iou = float(coco_mask.iou(pair[:1], pair[1:], [0])[0, 0])
        common.append(round(iou * (one.area + other.area) / (1 + iou)))
    return common


def mask_intersection(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> int:
    """Pixels that two (H, W) bool masks have in common. Raises ValueError when their shapes differ."""
    if first.shape != second.shape:
        raise ValueError(f"masks of different sizes: {first.shape} and {second.shape}")
    return int(np.count_nonzero(first & second))


def iou_per_expression(intersection: Ints, union: Ints) -> Floats:
    """IoU of N expressions, N float64; 1 where the union is empty: an empty answer to an empty truth is right."""
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0)


@dataclass(kw_only=True)
class Scores:
    """What the metrics need to know of N expressions; built up with `update`, read with `compute`.

    `image` tells which expressions share an image (any hashable), for confidence intervals by image.
    """

    intersection: list[int] = field(default_factory=list)
    predicted_area: list[int] = field(default_factory=list)
    true_area: list[int] = field(default_factory=list)
    boundary_f: list[float] = field(default_factory=list)
    image: list[object] = field(default_factory=list)

    def update(
        self,
        predicted: Iterable[EncodedMask],
        true: Iterable[EncodedMask],
        *,
        images: Iterable[object],
        boundary_f: Iterable[float] = (),
    ) -> None:
        """Add expressions. `boundary_f` may be left out altogether, but not for a part of the expressions."""
        predicted, true = list(predicted), list(true)
        self.intersection += intersections(predicted, true)
        self.predicted_area += [mask.area for mask in predicted]
        self.true_area += [mask.area for mask in true]
        self.image += list(images)
        self.boundary_f += list(boundary_f)
        if len(self.image) != len(self.intersection) or len(self.boundary_f) not in (0, len(self.intersection)):
            raise ValueError("images and boundary_f must have an entry for every mask")

    def compute(self) -> dict[str, float | None]:
        """All metrics by name, as shares of 1; None where no expression counts for one."""
        return compute_metrics(
            np.array(self.intersection, dtype=np.int64),
            np.array(self.predicted_area, dtype=np.int64),
            np.array(self.true_area, dtype=np.int64),
            np.array(self.boundary_f) if self.boundary_f else None,
        )


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
