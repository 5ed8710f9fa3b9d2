"""Masks against the drawn truth: per-phrase IoU of an annotator on held-out scenes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from litelvlm import AnnotationRequest, Annotator, PruningConfig
from litelvlm.demo.scenes import HELD_OUT_SEED, Scene, draw_scene
from litelvlm.evaluation.coverage import coverage, object_patches

BATCH_SCENES = 20
# Scenes for tuning (calibration); apart from the training scenes and from the 500 held-out ones that results are about.
VALIDATION_SEED = HELD_OUT_SEED + 1_000_000


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Results of P phrases.

    Attributes:
        intersection, union: pixels at the original size, P int64.
        scores, predicted_iou, stability: P float32.
        kinds: what kind of phrase each is.
        coverage: share of the object's patches among those kept, see `evaluation.coverage`; P float32.
    """

    intersection: np.ndarray
    union: np.ndarray
    scores: np.ndarray
    predicted_iou: np.ndarray
    stability: np.ndarray
    kinds: list[str]
    coverage: np.ndarray

    @classmethod
    def join(cls, parts: list[Scored]) -> Scored:
        """The results of several runs as one."""
        names = ("intersection", "union", "scores", "predicted_iou", "stability", "coverage")
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**arrays, kinds=[kind for part in parts for kind in part.kinds])

    @property
    def iou(self) -> np.ndarray:
        return self.intersection / np.maximum(self.union, 1)

    @property
    def giou(self) -> float:
        """Mean IoU over phrases."""
        return float(self.iou.mean())

    @property
    def ciou(self) -> float:
        """Sum of intersections over sum of unions."""
        return float(self.intersection.sum() / self.union.sum())


def scenes_from(first_seed: int, count: int) -> Iterator[Scene]:
    return (draw_scene(first_seed + index) for index in range(count))


def score_scenes(annotator: Annotator, scenes: Iterable[Scene], pruning: PruningConfig, layout: str) -> Scored:
    """Annotates scenes and compares with the truth."""
    rows: list[tuple[Any, ...]] = []
    scenes = list(scenes)
    for start in range(0, len(scenes), BATCH_SCENES):
        part = scenes[start : start + BATCH_SCENES]
        requests = [AnnotationRequest(image=scene.image, phrases=scene.phrases) for scene in part]
        results = annotator.annotate(requests, pruning=pruning, layout=layout, keep_logits=True)
        for scene, result in zip(part, results, strict=True):
            assert result.low_res_logits is not None, "they were asked for"
            for index, mask in enumerate(result.iter_masks()):
                truth = scene.masks[index]
                logits = result.low_res_logits[index]
                stable = (logits > 1).sum() / max(1, (logits > -1).sum())
                row = (mask & truth).sum(), (mask | truth).sum(), result.scores[index], result.predicted_iou[index]
                patches = object_patches(truth, annotator.num_visual_tokens)
                seen = coverage(patches, result.retained[index]) or 0.0
                rows.append((*row, stable, scene.expressions[index].kind, seen))
    both, either, scores, predicted, stability, kinds, coverages = (list(column) for column in zip(*rows, strict=True))
    return Scored(
        intersection=np.array(both, dtype=np.int64),
        union=np.array(either, dtype=np.int64),
        scores=np.array(scores, dtype=np.float32),
        predicted_iou=np.array(predicted, dtype=np.float32),
        stability=np.array(stability, dtype=np.float32),
        kinds=kinds,
        coverage=np.array(coverages, dtype=np.float32),
    )
