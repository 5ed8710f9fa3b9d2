"""Fits the confidence score to the true IoU on validation scenes."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from litelvlm.config import ScoreCalibration
from litelvlm.demo.scoring import Scored

EPSILON = 1e-4  # as in litelvlm.scores


def fit_calibration(parts: list[Scored]) -> ScoreCalibration:
    """Coefficients by logistic regression of the true IoU (a target in [0, 1]) on both signs of quality.

    Args:
        parts: results on the same validation scenes, e.g. unpruned and pruned.
    """
    iou, stable, truth = (
        torch.from_numpy(np.concatenate(values).astype(np.float64))
        for values in ([p.predicted_iou for p in parts], [p.stability for p in parts], [p.iou for p in parts])
    )
    signs = torch.stack([value.clamp(EPSILON, 1 - EPSILON).logit() for value in (iou, stable)], 1)
    weights = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(weights[0] + signs @ weights[1:], truth)
        value = value + 1e-3 * (weights[1:] ** 2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    bias, by_iou, by_stability = (round(value, 4) for value in weights.detach().tolist())
    return ScoreCalibration(bias=bias, iou=by_iou, stability=by_stability)
