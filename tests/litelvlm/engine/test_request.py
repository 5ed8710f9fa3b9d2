"""An answer's masks, made of run lengths when they are read."""

from __future__ import annotations

import numpy as np

from litelvlm.engine.request import AnnotationResult


def result(run_lengths: list[list[int]], size_hw: tuple[int, int]) -> AnnotationResult:
    count = len(run_lengths)
    return AnnotationResult(
        scores=np.zeros(count, np.float32),
        predicted_iou=np.zeros(count, np.float32),
        run_lengths=[np.array(one, dtype=np.int64) for one in run_lengths],
        low_res_logits=None,
        mask_prompts=np.zeros((count, 4), np.float32),
        retained=[np.arange(3)] * count,
        num_visual_tokens=9,
        num_retained_tokens=3,
        num_prompts=1,
        num_text_tokens=20,
        size_hw=size_hw,
    )


def test_masks_run_down_columns_zeros_first() -> None:
    """Of 2x3 pixels: one outside, two inside, three outside; and one that begins inside."""
    answer = result([[1, 2, 3], [0, 1, 5]], (2, 3))
    assert answer.masks.astype(int).tolist() == [[[0, 1, 0], [1, 0, 0]], [[1, 0, 0], [0, 0, 0]]]
    assert answer.masks.dtype == np.bool_
    assert answer.num_phrases == 2
    assert [mask.tolist() for mask in answer.iter_masks()] == answer.masks.tolist()


def test_no_phrases_are_no_masks_of_the_images_size() -> None:
    answer = result([], (4, 7))
    assert answer.masks.shape == (0, 4, 7)
    assert list(answer.iter_masks()) == []


def test_masks_are_made_once() -> None:
    answer = result([[6]], (2, 3))
    assert answer.masks is answer.masks
