"""Run lengths equal pycocotools' own and survive the way back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pycocotools import mask as coco_mask

from litelvlm.pipeline.masks import EncodedMask, decode_mask, encode_mask, mask_iou

MASKS = npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, max_side=14))


def _circle(height: int, width: int, radius: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (rows - height // 2) ** 2 + (columns - width // 3) ** 2 <= radius**2


CASES = {
    "empty": np.zeros((5, 7), bool),
    "full": np.ones((5, 7), bool),
    "one pixel": np.ones((1, 1), bool),
    "one empty pixel": np.zeros((1, 1), bool),
    "first pixel": np.arange(35).reshape(5, 7) == 0,
    "last pixel": np.arange(35).reshape(5, 7) == 34,
    "one row": np.array([[1, 0, 1, 1]], bool),
    "one column": np.array([[1], [0], [1]], bool),
    "circle": _circle(120, 200, 40),
    "wide circle": _circle(64, 3000, 30),
    "not contiguous": _circle(200, 120, 40).T,
    "long runs": np.pad(np.ones((2000, 1000), bool), ((1000, 0), (500, 500))),
}


def _by_pycocotools(mask: np.ndarray) -> EncodedMask:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return EncodedMask(
        size_hw=(rle["size"][0], rle["size"][1]),
        counts=rle["counts"].decode(),
        area=int(coco_mask.area(rle)),
        bbox_xywh=tuple(coco_mask.toBbox(rle).tolist()),
    )


@pytest.mark.parametrize("name", CASES)
def test_equal_to_pycocotools(name: Any) -> None:
    encoded = encode_mask(CASES[name])
    assert encoded == _by_pycocotools(CASES[name])
    assert np.array_equal(decode_mask(encoded), CASES[name])
    assert [type(value) for value in (encoded.area, *encoded.bbox_xywh)] == [int, float, float, float, float]


@pytest.mark.slow
@settings(max_examples=300, deadline=None, derandomize=True)
@given(MASKS)
def test_any_mask_equals_pycocotools(mask: Any) -> None:
    encoded = encode_mask(mask)
    assert encoded == _by_pycocotools(mask)
    assert np.array_equal(decode_mask(encoded), mask)


def test_integer_masks_are_inside_where_not_zero() -> None:
    assert encode_mask(np.array([[0, 255], [1, 0]], np.uint8)) == encode_mask(np.array([[0, 1], [1, 0]], bool))


@pytest.mark.parametrize("shape", [(4,), (0, 3), (3, 0), (1, 2, 3)])
def test_other_shapes_are_refused(shape: Any) -> None:
    with pytest.raises(ValueError, match="mask: expected shape"):
        encode_mask(np.zeros(shape, bool))


@pytest.mark.slow
@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_iou_equals_that_of_the_pixels(data: Any) -> None:
    first = data.draw(MASKS)
    second = data.draw(npst.arrays(np.bool_, first.shape))
    union = (first | second).sum()
    expected = (first & second).sum() / union if union else 1.0
    assert mask_iou(encode_mask(first), encode_mask(second)) == pytest.approx(expected, abs=1e-12)


def test_iou_of_empty_masks() -> None:
    empty, full = encode_mask(CASES["empty"]), encode_mask(CASES["full"])
    assert mask_iou(empty, empty) == 1.0
    assert mask_iou(empty, full) == 0.0
    with pytest.raises(ValueError, match="different sizes"):
        mask_iou(full, encode_mask(CASES["one pixel"]))


@pytest.mark.parametrize("counts", ["", "0", "\x7f", "zzz", "é", "1" * 9, "P" * 20, "oooooooooooo0", "51"])
def test_run_lengths_that_do_not_fill_the_size_are_refused(counts: Any) -> None:
    with pytest.raises(ValueError, match="mask: "):
        decode_mask(EncodedMask(size_hw=(3, 4), counts=counts, area=1, bbox_xywh=(0.0, 0.0, 1.0, 1.0)))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=20))
def test_hostile_run_lengths_are_decoded_or_refused(counts: Any) -> None:
    encoded = EncodedMask(size_hw=(3, 4), counts=counts, area=1, bbox_xywh=(0.0, 0.0, 1.0, 1.0))
    try:
        decoded = decode_mask(encoded)
    except ValueError:
        return
    assert decoded.shape == (3, 4)
