"""The confidence score is fitted to the true IoU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from litelvlm.demo.calibrate import fit_calibration
from litelvlm.demo.scoring import Scored
from litelvlm.scores import confidence


def _scored(iou: np.ndarray, predicted: np.ndarray, stability: np.ndarray) -> Scored:
    none = np.zeros(len(iou), np.float32)
    return Scored(
        intersection=np.round(1000 * iou).astype(np.int64),
        union=np.full(len(iou), 1000),
        scores=none,
        predicted_iou=predicted.astype(np.float32),
        stability=stability.astype(np.float32),
        kinds=[],
        coverage=none,
    )


def test_calibration_recovers_what_made_the_data() -> None:
    rng = np.random.default_rng(0)
    predicted, stable = rng.uniform(0.2, 0.95, (2, 4000)).astype(np.float32)
    logit = 1.5 * np.log(predicted / (1 - predicted)) - 0.5
    scored = _scored(1 / (1 + np.exp(-logit)), predicted, stable)
    calibration = fit_calibration([scored])
    assert calibration.iou == pytest.approx(1.5, abs=0.1)
    assert calibration.stability == pytest.approx(0, abs=0.1)
    fitted = confidence(torch.from_numpy(predicted), torch.from_numpy(stable), calibration).numpy()
    assert np.abs(fitted - scored.iou).max() < 0.03


def test_signs_of_certainty_that_say_nothing_leave_the_mean() -> None:
    """Predictions of exactly 0 and 1 have no finite logit; they are taken as just inside."""
    sure, iou = np.tile([0.0, 1.0], 25), np.full(50, 0.2)
    calibration = fit_calibration([_scored(iou, sure, sure), _scored(iou, sure, sure[::-1])])
    assert (calibration.iou, calibration.stability) == pytest.approx((0, 0), abs=0.01)
    assert 1 / (1 + np.exp(-calibration.bias)) == pytest.approx(0.2, abs=0.01)
