"""COCO's `segmentation` in every form that the original files and copies of them have."""

from typing import Any

import numpy as np
import pytest

from litelvlm.evaluation.datasets.segmentation import read_segmentation
from litelvlm.pipeline.masks import decode_mask, encode_mask
from tests.evaluation.datasets.refer_files import SIZES_HW, polygon, true_mask

SIZE_HW = SIZES_HW[7]
MAN, DOG = (true_mask(ann_id, image_id=7) for ann_id in (101, 102))
MAN_OUTLINE, DOG_OUTLINE = polygon((5, 5, 25, 25)), polygon((35, 10, 55, 30))


@pytest.mark.parametrize(
    ("segmentation", "expected"),
    [
        ([MAN_OUTLINE], MAN),
        ([MAN_OUTLINE, DOG_OUTLINE], MAN | DOG),
        (MAN_OUTLINE, MAN),
        (encode_mask(MAN).as_coco(), MAN),
        ([encode_mask(MAN).as_coco()], MAN),
        ([encode_mask(MAN).as_coco(), encode_mask(DOG).as_coco()], MAN | DOG),
        ([encode_mask(MAN).as_coco(), DOG_OUTLINE], MAN | DOG),
        ([{"size": [40, 60], "counts": [0, 40, 2360]}, DOG_OUTLINE], DOG | (np.arange(60) == 0)),
        ([[1, 1, 2, 2], MAN_OUTLINE], MAN),
        ([[1, 1, 2, 2]], np.zeros_like(MAN)),
        ([], np.zeros_like(MAN)),
    ],
)
def test_every_part_counts(segmentation: Any, expected: Any) -> None:
    assert np.array_equal(decode_mask(read_segmentation(segmentation, SIZE_HW)), expected)


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "null"),
        ({}, "struct"),
        ([None], "part 0 is null"),
        ([MAN_OUTLINE, "x"], "part 1 is 'x'"),
        ([["x"]], "part 0 is a list"),
        ([[[1, 1], [2, 2], [3, 1]]], "part 0 is a list"),
        ([{"counts": None, "size": [40, 60]}], "part 0 is a dict"),
        ([{"counts": [0, 40, 2360], "size": [60, 40]}], "size"),
        ([1.0, 2.0, 3.0, 4.0], "a polygon of 4 numbers"),
        ([[]] * 10_001, "10001 parts"),
    ],
)
def test_what_is_no_segmentation_is_not_taken_for_no_target(segmentation: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_segmentation(segmentation, SIZE_HW)
