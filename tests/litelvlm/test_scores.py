"""The confidence of a mask: stability counted by hand, and the geometric mean of the odds."""

from __future__ import annotations

import math

import pytest
import torch

from litelvlm.config import ScoreCalibration
from litelvlm.scores import EPSILON, confidence, stability


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([[3.0, 0.5], [-0.5, -3.0]], 1 / 3),  # one above +1, three above -1
        ([[1.0, 2.0], [-1.0, 2.0]], 2 / 3),  # exactly +1 and exactly -1 are not above
        ([[9.0, 9.0], [9.0, 9.0]], 1.0),
        ([[-9.0, -9.0], [-9.0, -9.0]], 0.0),
    ],
    ids=["a third", "at the thresholds", "everything", "nothing"],
)
def test_stability_is_the_iou_of_a_high_and_a_low_threshold(logits: list[list[float]], expected: float) -> None:
    assert stability(torch.tensor([logits])).tolist() == pytest.approx([expected])


def test_each_mask_has_its_own_and_none_is_none() -> None:
    logits = torch.stack([torch.full((4, 4), 2.0), torch.zeros(4, 4)])
    assert stability(logits).tolist() == [1.0, 0.0]
    assert stability(torch.zeros(0, 4, 4)).shape == (0,)


def test_without_a_calibration_it_is_the_geometric_mean_of_the_odds() -> None:
    """Odds of 0.8 are 4, of 0.5 are 1: their mean is 2, and that is 2 in 3."""
    found = confidence(torch.tensor([0.8, 0.9]), torch.tensor([0.5, 0.9]), ScoreCalibration())
    assert found.tolist() == pytest.approx([2 / 3, 0.9])


def test_a_calibration_weighs_and_shifts() -> None:
    calibration = ScoreCalibration(bias=math.log(3), iou=0.0, stability=1.0)
    assert confidence(torch.tensor([0.1]), torch.tensor([0.5]), calibration).tolist() == pytest.approx([0.75])


@pytest.mark.parametrize(("signs", "expected"), [(1.5, 1 - EPSILON), (-0.5, EPSILON)])
def test_signs_beyond_0_and_1_give_a_number_within(signs: float, expected: float) -> None:
    """The decoder's own prediction is not bounded."""
    both = torch.tensor([signs])
    assert confidence(both, both, ScoreCalibration()).tolist() == pytest.approx([expected], abs=1e-6)
