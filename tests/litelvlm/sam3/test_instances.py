"""Instances joined to one mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from litelvlm.run_lengths import mask_from_run_lengths
from litelvlm.sam3.instances import instance_scores, phrase_mask, union


def lengths_of(mask: np.ndarray) -> np.ndarray:
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(np.diff(flat.astype(int), prepend=0))
    return np.diff(changes, prepend=0, append=flat.size)


@pytest.mark.parametrize("num_masks", [0, 1, 2, 5])
def test_the_union_of_run_lengths_is_that_of_the_masks(num_masks: int) -> None:
    rng = np.random.default_rng(num_masks)
    for share in (0.0, 0.05, 0.3, 1.0):
        masks = rng.random((num_masks, 7, 5)) < share
        found = union([lengths_of(mask) for mask in masks], 35)
        assert (found[1:] > 0).all(), "runs alternate"
        np.testing.assert_array_equal(mask_from_run_lengths(found, (7, 5)), masks.any(axis=0))


def test_runs_that_touch_become_one() -> None:
    found = union([np.array([2, 3, 5]), np.array([5, 1, 4]), np.array([0, 1, 9])], 10)
    assert found.tolist() == [0, 1, 1, 4, 4]


def test_only_kept_instances_are_in_the_mask_at_the_original_size() -> None:
    logits = torch.full((3, 4, 4), -9.0)
    logits[0, :, :2], logits[1, 0], logits[2] = 9.0, 9.0, 9.0
    kept = torch.tensor([True, True, False])
    mask = mask_from_run_lengths(phrase_mask(logits, kept, (8, 12)), (8, 12))
    wanted = np.zeros((8, 12), dtype=bool)
    wanted[:, :6] = wanted[:2] = True
    np.testing.assert_array_equal(mask, wanted)
    nothing = phrase_mask(logits, torch.zeros(3, dtype=torch.bool), (8, 12))
    assert nothing.tolist() == [96]


def test_a_score_is_the_query_s_times_the_presence() -> None:
    logits, presence = torch.tensor([[0.0, 2.0]], dtype=torch.bfloat16), torch.tensor([[0.0]])
    assert instance_scores(logits, presence)[0].tolist() == pytest.approx([0.25, 0.5 * 0.8808], abs=1e-3)
