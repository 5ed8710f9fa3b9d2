"""Metrics against values computed by hand, and against pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools import mask as coco_mask

from litelvlm.evaluation.metrics import compute_metrics, mask_intersection
from litelvlm.evaluation.records import RESULT_SCHEMA
from tests.evaluation.masks import CORNER, EMPTY, LEFT, MASK_PAIRS, MIDDLE, Mask


def _metrics(pairs: list[tuple[Mask, Mask]]) -> dict[str, float | None]:
    """Of pairs of a predicted and a true mask."""
    areas = [(mask_intersection(*pair), pair[0].sum(), pair[1].sum()) for pair in pairs]
    common, predicted, true = np.array(areas, dtype=np.int64).reshape(-1, 3).T
    return compute_metrics(common, predicted, true)


def test_hand_computed_values() -> None:
    values = _metrics([(MIDDLE, LEFT), (CORNER, LEFT), (LEFT, LEFT)])
    assert values["ciou"] == pytest.approx(200 / 350)  # (50 + 50 + 100) / (150 + 100 + 100)
    assert values["giou"] == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    assert values["p_at_0.5"] == pytest.approx(2 / 3)  # an IoU of exactly 0.5 counts
    assert values["p_at_0.6"] == values["p_at_0.9"] == pytest.approx(1 / 3)
    assert values["t_acc"] == 1.0
    assert values["n_acc"] is None
    assert values["boundary_f"] is None
    assert set(values) <= set(RESULT_SCHEMA.names)


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        pytest.param(EMPTY, LEFT, {"ciou": 0, "giou": 0, "p_at_0.5": 0, "t_acc": 0, "n_acc": None}, id="empty answer"),
        pytest.param(LEFT, EMPTY, {"ciou": 0, "giou": 0, "p_at_0.5": None, "t_acc": None, "n_acc": 0}, id="no target"),
        pytest.param(EMPTY, EMPTY, {"ciou": None, "giou": 1, "p_at_0.5": None, "t_acc": None, "n_acc": 1}, id="both"),
    ],
)
def test_empty_masks(predicted: Mask, true: Mask, expected: dict[str, float | None]) -> None:
    values = _metrics([(predicted, true)])
    assert {name: values[name] for name in expected} == expected


def test_empty_targets_among_others() -> None:
    values = _metrics([(EMPTY, EMPTY), (LEFT, EMPTY), (EMPTY, LEFT), (CORNER, LEFT)])
    assert values["ciou"] == pytest.approx(50 / (0 + 100 + 100 + 100))  # a mask where nothing is counts in the union
    assert values["giou"] == pytest.approx((1 + 0 + 0 + 0.5) / 4)
    assert values["n_acc"] == values["t_acc"] == 0.5
    assert values["p_at_0.5"] == 0.5  # of the two expressions with a target


def test_no_expression_gives_no_value() -> None:
    assert set(_metrics([]).values()) == {None}


def test_masks_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="sizes"):
        mask_intersection(LEFT, LEFT.T)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, derandomize=True)
@given(MASK_PAIRS)
def test_iou_is_pycocotools_own(pair: tuple[Mask, Mask]) -> None:
    rle = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in pair]
    expected = float(coco_mask.iou(rle[:1], rle[1:], [0])[0, 0])
    if pair[0].any() or pair[1].any():  # pycocotools calls two empty masks different
        assert _metrics([pair])["giou"] == pytest.approx(expected, abs=1e-12)
