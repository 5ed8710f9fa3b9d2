"""What CLIP is shown of a mask: its square, and nothing beside the mask."""

from __future__ import annotations

import pytest
import torch

from litelvlm.masked_crops import covered, masked_crops

TARGET, SIDE, SIZE = 64, 16, 8
HEIGHT, WIDTH = 48, 64  # of the image within the encoder's square


def _pixels() -> torch.Tensor:
    """3xHxW: value 1 left of the middle, 2 right of it."""
    pixels = torch.ones(3, HEIGHT, WIDTH)
    pixels[:, :, WIDTH // 2 :] = 2
    return pixels


def _logits(*boxes: tuple[int, int, int, int]) -> torch.Tensor:
    """A mask a box, in cells of the low-resolution grid: top, left, bottom, right."""
    logits = torch.full((len(boxes), SIDE, SIDE), -5.0)
    for number, (top, left, bottom, right) in enumerate(boxes):
        logits[number, top:bottom, left:right] = 5.0
    return logits


def _crops(*boxes: tuple[int, int, int, int], kept: float = 0.0) -> torch.Tensor:
    return masked_crops(_pixels(), _logits(*boxes), target=TARGET, size=SIZE, kept=kept)


def test_the_middle_is_the_object_and_the_edges_are_grey() -> None:
    left, right = _crops((3, 1, 8, 6), (3, 10, 8, 15))
    for crop, value in ((left, 1.0), (right, 2.0)):
        assert crop.shape == (3, SIZE, SIZE)
        assert torch.allclose(crop[:, SIZE // 2, SIZE // 2], torch.full((3,), value))
        assert not crop[:, 0].any()
        assert not crop[:, :, -1].any()


def test_what_lies_beside_can_be_kept_in_part() -> None:
    (hidden,), (shown,) = _crops((3, 1, 8, 6)), _crops((3, 1, 8, 6), kept=0.5)
    outside = hidden[0] == 0
    assert shown[0][outside].max() == pytest.approx(0.5)
    assert torch.equal(shown[0][~outside], hidden[0][~outside])


def test_an_empty_mask_shows_nothing() -> None:
    assert not _crops((0, 0, 0, 0)).any()


def test_a_crop_does_not_depend_on_the_others() -> None:
    boxes = [(3, 1, 8, 6), (0, 0, 12, 16), (11, 15, 12, 16), (3, 10, 8, 15)]
    together = _crops(*boxes)
    for number, box in enumerate(boxes):
        assert torch.equal(together[number], _crops(box)[0])


def test_padding_beside_the_image_is_no_mask() -> None:
    logits = _logits((0, 0, SIDE, SIDE))
    inside = covered(logits, (HEIGHT, WIDTH), TARGET)[0]
    assert inside[: HEIGHT * SIDE // TARGET].all()
    assert not inside[HEIGHT * SIDE // TARGET :].any()
