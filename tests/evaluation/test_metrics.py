"""Metrics against values computed by hand, and against pycocotools."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pycocotools import mask as coco_mask

from litelvlm.evaluation.bootstrap import bootstrap_intervals
from litelvlm.evaluation.boundary import boundary, boundary_f, dilate
from litelvlm.evaluation.metrics import compute_metrics, mask_intersection
from litelvlm.evaluation.records import RESULT_SCHEMA


def _box(height, width, top, left, bottom, right):
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


EMPTY = _box(10, 20, 0, 0, 0, 0)
LEFT = _box(10, 20, 0, 0, 10, 10)  # 100 pixels
MIDDLE = _box(10, 20, 0, 5, 10, 15)  # 100 pixels, 50 of them in LEFT
CORNER = _box(10, 20, 0, 0, 5, 10)  # 50 pixels, all in LEFT


def _metrics(pairs):
    """Of pairs of a predicted and a true mask."""
    common = [mask_intersection(*pair) for pair in pairs]
    predicted, true = ([int(pair[place].sum()) for pair in pairs] for place in (0, 1))
    return compute_metrics(*(np.array(values, dtype=np.int64) for values in (common, predicted, true)))


def test_hand_computed_values():
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
def test_empty_masks(predicted, true, expected):
    values = _metrics([(predicted, true)])
    assert {name: values[name] for name in expected} == expected


def test_empty_targets_among_others():
    values = _metrics([(EMPTY, EMPTY), (LEFT, EMPTY), (EMPTY, LEFT), (CORNER, LEFT)])
    assert values["ciou"] == pytest.approx(50 / (0 + 100 + 100 + 100))  # a mask where nothing is counts in the union
    assert values["giou"] == pytest.approx((1 + 0 + 0 + 0.5) / 4)
    assert values["n_acc"] == values["t_acc"] == 0.5
    assert values["p_at_0.5"] == 0.5  # of the two expressions with a target


def test_no_expression_gives_no_value():
    assert set(_metrics([]).values()) == {None}


def test_masks_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="sizes"):
        mask_intersection(LEFT, LEFT.T)


MASK_PAIRS = npst.array_shapes(min_dims=2, max_dims=2, max_side=40).flatmap(
    lambda shape: st.tuples(npst.arrays(np.bool_, shape), npst.arrays(np.bool_, shape))
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(MASK_PAIRS)
def test_iou_is_pycocotools_own(pair):
    rle = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in pair]
    expected = float(coco_mask.iou(rle[:1], rle[1:], [0])[0, 0])
    if pair[0].any() or pair[1].any():  # pycocotools calls two empty masks different
        assert _metrics([pair])["giou"] == pytest.approx(expected, abs=1e-12)


def _literal_f(predicted, true):
    """The definition, pixel by pixel: `davis2017/metrics.py` with its disk written out."""
    radius = int(np.ceil(0.008 * np.linalg.norm(true.shape)))

    def edges(mask):
        height, width = mask.shape
        found = np.zeros_like(mask)
        for y in range(height):
            for x in range(width):
                right, below = min(x + 1, width - 1), min(y + 1, height - 1)
                found[y, x] = len({mask[y, x], mask[y, right], mask[below, x], mask[below, right]}) > 1
        return np.argwhere(found)

    found, wanted = edges(predicted), edges(true)
    if not len(found) or not len(wanted):
        return float(len(found) == len(wanted))
    squared = ((found[:, None] - wanted[None]) ** 2).sum(-1) <= radius**2
    precision, recall = squared.any(1).mean(), squared.any(0).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(MASK_PAIRS)
def test_boundary_f_follows_its_definition(pair):
    assert boundary_f(*pair) == pytest.approx(_literal_f(*pair))


def test_boundary_f_of_boxes_apart():
    shape = (120, 160)  # the diagonal is 200 pixels, the tolerance 2
    true = _box(*shape, 20, 20, 60, 60)
    assert boundary_f(true, true) == 1.0
    assert boundary_f(_box(*shape, 22, 20, 62, 60), true) == 1.0  # moved by the tolerance
    assert boundary_f(_box(*shape, 80, 100, 110, 150), true) == 0.0
    assert boundary_f(_box(*shape, 30, 20, 70, 60), true) == pytest.approx(
        _literal_f(_box(*shape, 30, 20, 70, 60), true)
    )


@pytest.mark.parametrize(
    ("predicted", "true", "expected"), [(EMPTY, EMPTY, 1.0), (EMPTY, LEFT, 0.0), (LEFT, EMPTY, 0.0)]
)
def test_boundary_f_of_empty_masks(predicted, true, expected):
    assert boundary_f(predicted, true) == expected


def test_boundary_and_disk():
    mask = np.zeros((7, 7), bool)
    mask[3, 3] = True
    assert np.argwhere(boundary(mask)).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    assert dilate(mask, 2).sum() == 13  # the disk of radius 2
    assert np.array_equal(dilate(mask, 0), mask)


def _arrays(num_images, per_image):
    rng = np.random.default_rng(7)
    count = num_images * per_image
    true = rng.integers(50, 200, count)
    predicted = rng.integers(50, 200, count)
    common = (np.minimum(true, predicted) * rng.random(count)).astype(np.int64)
    return common, predicted, true, np.repeat(np.arange(num_images), per_image).tolist()


def test_intervals_are_seeded_and_hold_the_value():
    data = _arrays(200, 2)
    first, again = bootstrap_intervals(*data, seed=3), bootstrap_intervals(*data, seed=3)
    union = data[1] + data[2] - data[0]
    assert first == again
    assert first["ciou"][0] < data[0].sum() / union.sum() < first["ciou"][1]
    assert first["giou"][0] < (data[0] / union).mean() < first["giou"][1]
    assert bootstrap_intervals(*data, seed=4) != first


def test_intervals_are_by_image():
    """The mean of n images has a standard error of sd / sqrt(n), however many equal expressions each image has."""
    rng = np.random.default_rng(1)
    share = rng.integers(1, 99, 400)
    widths = []
    for repeats in (1, 10):
        common = np.repeat(share, repeats)
        full = np.full_like(common, 100)
        low, high = bootstrap_intervals(common, common, full, np.repeat(np.arange(400), repeats).tolist())["giou"]
        widths.append(high - low)
    expected = 2 * 1.96 * (share / 100).std() / np.sqrt(400)
    assert widths == pytest.approx([expected, expected], rel=0.1)


def test_intervals_without_expressions_or_unions():
    nothing = np.zeros(0, dtype=np.int64)
    assert bootstrap_intervals(nothing, nothing, nothing, []) == {}
    zeros = np.zeros(3, dtype=np.int64)
    assert bootstrap_intervals(zeros, zeros, zeros, [0, 1, 2]) == {"giou": (1.0, 1.0)}
