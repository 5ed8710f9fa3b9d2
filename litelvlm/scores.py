"""The confidence of a mask: one number in [0, 1] that ranks masks for review.

It joins the two signs of quality that a mask comes with, on the logit scale:

    score = sigmoid(bias + w_iou * logit(predicted IoU) + w_stability * logit(stability))

The predicted IoU is the mask decoder's own (SAM, section "ambiguity-aware"); the stability is SAM's stability score at
offset 1: the IoU of the masks thresholded at +1 and at -1. Without a fitted calibration the weights are 1/2 each, the
geometric mean of the odds; a checkpoint's `config.json` may hold fitted weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from litelvlm.config import ScoreCalibration

STABILITY_OFFSET = 1.0
EPSILON = 1e-4


def stability(low_res_logits: Tensor) -> Tensor:
    """IoU of the masks above +1 and above -1 of PxLxL logits, P float32; 0 where nothing is above -1."""
    high = (low_res_logits > STABILITY_OFFSET).flatten(1).sum(-1)
    low = (low_res_logits > -STABILITY_OFFSET).flatten(1).sum(-1)
    return high.float() / low.clamp(min=1)


def confidence(predicted_iou: Tensor, stability_score: Tensor, calibration: ScoreCalibration) -> Tensor:
    """The score of P masks in [0, 1], float32; see the module's formula."""
    return torch.sigmoid(
        calibration.bias + calibration.iou * _logit(predicted_iou) + calibration.stability * _logit(stability_score)
    )


def _logit(probability: Tensor) -> Tensor:
    return torch.logit(probability.float().clamp(EPSILON, 1 - EPSILON))
