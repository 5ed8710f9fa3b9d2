"""Runs and sides as CVAT has them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from litelvlm.pipeline.export.coco_entries import annotation_entry
from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.ontology import OBJECT, Category
from litelvlm.pipeline.review.push.cvat_shapes import mask_points, shape_of
from tests.review_tools.drawn import SIZE_HW, masked_images, shapes


def read(points: list[float], size_hw: tuple[int, int]) -> np.ndarray:
    """An (H, W) bool mask, restated from the description of CVAT's format."""
    left, top, right, bottom = map(int, points[-4:])
    flat = [place % 2 == 1 for place, run in enumerate(points[:-4]) for _ in range(int(run))]
    found = np.zeros(size_hw, bool)
    found[top : bottom + 1, left : right + 1] = np.reshape(flat, (bottom - top + 1, right - left + 1))
    return found


@pytest.mark.parametrize("place", range(4))
def test_masks_are_exact(place: int) -> None:
    mask = shapes()[place]
    np.testing.assert_array_equal(read(mask_points(mask, encode_mask(mask).bbox_xywh), SIZE_HW), mask)


def test_a_mask_that_begins_its_box_begins_with_no_zeros() -> None:
    assert mask_points(np.ones((1, 2), bool), (0, 0, 2, 1)) == [0, 2, 0, 0, 1, 0]


def test_a_shape_has_the_native_score_and_what_the_label_declares() -> None:
    image = masked_images(1)[0]
    label = SimpleNamespace(
        id=5, attributes=[SimpleNamespace(id=8, name="phrase"), SimpleNamespace(id=9, name="score")]
    )
    entry = annotation_entry((OBJECT, Category(id=2, name="thing")), image, image.objects[1])
    shape = shape_of(entry, 3, label)
    assert (shape["frame"], shape["label_id"], shape["score"], shape["source"]) == (3, 5, 0.7, "auto")
    assert shape["attributes"] == [{"spec_id": 8, "value": "blue square"}, {"spec_id": 9, "value": "0.7"}]


@pytest.mark.review_tools
def test_the_sdk_reads_them() -> None:
    masks = pytest.importorskip("cvat_sdk.masks")
    for mask in shapes():
        points = mask_points(mask, encode_mask(mask).bbox_xywh)
        assert points == masks.encode_mask(mask)
        np.testing.assert_array_equal(masks.decode_mask(points, image_width=161, image_height=120), mask)
