"""Losses on masks, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from litelvlm.demo.losses import mask_losses, total_mask_loss


def test_losses_of_a_mask_that_is_half_right() -> None:
    """Of four cells the object covers two; one of them and one other are predicted, with a logit of ln 3: 3/4."""
    sure = math.log(3)
    logits = torch.tensor([[[sure, sure], [-sure, -sure]]])
    losses = mask_losses(logits, torch.tensor([0.5]), torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]))
    assert float(losses["bce"]) == pytest.approx(-(math.log(3 / 4) + math.log(1 / 4)) / 2)
    assert float(losses["dice"]) == pytest.approx(1 - (2 * 1.0 + 1) / (2.0 + 2.0 + 1))
    assert float(losses["mean_iou"]) == pytest.approx(1 / 3)
    assert float(losses["iou_head"]) == pytest.approx((1 / 2 - 1 / 3) ** 2)
    expected = 8 * losses["bce"] + losses["dice"] + 0.5 * losses["iou_head"]
    assert float(total_mask_loss(losses)) == pytest.approx(float(expected))


def test_an_empty_mask_of_nothing_costs_next_to_nothing() -> None:
    losses = mask_losses(torch.full((1, 2, 2), -20.0), torch.zeros(1), torch.zeros(1, 2, 2))
    assert float(losses["dice"]) == pytest.approx(0, abs=1e-6)
    assert float(losses["iou_head"]) == 0  # the IoU of two empty masks counts as 0 here


def test_the_iou_head_learns_of_its_own_prediction_alone() -> None:
    logits, iou = torch.zeros(1, 2, 2, requires_grad=True), torch.tensor([0.2], requires_grad=True)
    mask_losses(logits, iou, torch.ones(1, 2, 2))["iou_head"].backward()
    assert logits.grad is None
    assert iou.grad is not None
    assert float(iou.grad) == pytest.approx(2 * 0.2)  # nothing is predicted: the true IoU is 0
