"""Losses on masks."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def mask_losses(logits: Tensor, iou: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Losses of N masks and, for the log, their mean IoU at low resolution.

    Args:
        logits: NxLxL.
        iou: N, the decoder's prediction of its own IoU.
        targets: NxLxL soft masks in [0, 1].
    """
    probability = logits.sigmoid()
    overlap = (probability * targets).flatten(1).sum(1)
    dice = 1 - (2 * overlap + 1) / (probability.flatten(1).sum(1) + targets.flatten(1).sum(1) + 1)
    predicted, real = logits.detach() > 0, targets > 0.5
    both = (predicted & real).flatten(1).sum(1).float()
    true_iou = both / (predicted | real).flatten(1).sum(1).clamp(min=1)
    return {
        "bce": F.binary_cross_entropy_with_logits(logits, targets),
        "dice": dice.mean(),
        "iou_head": F.mse_loss(iou, true_iou),
        "mean_iou": true_iou.mean(),
    }


def total_mask_loss(losses: dict[str, Tensor]) -> Tensor:
    """The weighted sum: objects cover few cells, hence the weight of the cross entropy."""
    return 8 * losses["bce"] + losses["dice"] + 0.5 * losses["iou_head"]
