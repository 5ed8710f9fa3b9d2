"""Masks against the drawn truth."""

from __future__ import annotations

import numpy as np
import pytest

from litelvlm import AnnotationRequest, Annotator, PruningConfig
from litelvlm.demo.scenes import HELD_OUT_SEED
from litelvlm.demo.scoring import Scored, scenes_from, score_scenes

UNPRUNED = PruningConfig(rule="none")


def _scored(intersection: list[int], union: list[int]) -> Scored:
    values = np.zeros(len(union), np.float32)
    return Scored(
        intersection=np.array(intersection), union=np.array(union), scores=values, predicted_iou=values,
        stability=values, kinds=["size"] * len(union), coverage=values,
    )  # fmt: skip


def test_scores_of_several_runs_are_those_of_all_phrases() -> None:
    both = Scored.join([_scored([10], [20]), _scored([0, 30], [10, 40])])
    assert both.iou.tolist() == [0.5, 0.0, 0.75]
    assert both.giou == pytest.approx(1.25 / 3)
    assert both.ciou == pytest.approx(40 / 70)
    assert len(both.kinds) == 3


@pytest.mark.slow
def test_scenes_are_scored_phrase_by_phrase(demo_annotator: Annotator) -> None:
    scenes = list(scenes_from(HELD_OUT_SEED, 2))
    scored = score_scenes(demo_annotator, scenes, UNPRUNED, "separate")
    assert scored.kinds == [one.kind for scene in scenes for one in scene.expressions]
    requests = [AnnotationRequest(image=scene.image, phrases=scene.phrases) for scene in scenes]
    results = demo_annotator.annotate(requests, pruning=UNPRUNED, layout="separate")
    pairs = [
        (mask, truth)
        for scene, result in zip(scenes, results, strict=True)
        for mask, truth in zip(result.iter_masks(), scene.masks, strict=True)
    ]
    assert scored.intersection.tolist() == [np.count_nonzero(mask & truth) for mask, truth in pairs]
    assert scored.union.tolist() == [np.count_nonzero(mask | truth) for mask, truth in pairs]
    assert scored.coverage.tolist() == [1.0] * len(pairs)  # every token is kept
    assert ((scored.stability > 0) & (scored.stability <= 1)).all()
    pruned = score_scenes(demo_annotator, scenes, PruningConfig(rule="random", num_retain_tokens=48), "separate")
    assert 0 < pruned.coverage.mean() < 0.7
