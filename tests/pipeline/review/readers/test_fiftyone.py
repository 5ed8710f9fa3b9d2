"""FiftyOne's own export."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.masks import EncodedMask, decode_mask, encode_mask
from litelvlm.pipeline.review.readers.fiftyone import read_fiftyone
from litelvlm.pipeline.review.reviewed import ReviewedRegion
from tests.pipeline.review.readers.written import NAME, SIZE, fiftyone, masks, packed_array

FOUND = masks()


def _regions(**changed: Any) -> tuple[ReviewedRegion, ...]:
    content = fiftyone(FOUND[:1])
    content["samples"][0]["reviewed"]["detections"][0].update(changed)
    (image,) = read_fiftyone(content, "f")
    return image.reviews[0].regions


def _mask(**changed: Any) -> EncodedMask:
    (region,) = _regions(**changed)
    return region.mask


def test_samples_are_images() -> None:
    (image,) = read_fiftyone(fiftyone(FOUND), "f")
    assert (image.file_name, image.size_hw, image.image_id) == (f"data/{NAME}", SIZE, "row 1")
    assert [one.mask for one in image.reviews[0].regions] == [encode_mask(mask) for mask in FOUND]


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, bool])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_kind(kind: Any, order: Any) -> None:
    array = np.array(FOUND[0], dtype=kind, order=order)
    assert _mask(mask=packed_array(array), bounding_box=[0, 0, 1, 1]) == encode_mask(FOUND[0])
    plain = packed_array(array)["$binary"]["base64"]
    for mask in (plain, {"$binary": plain, "$type": "00"}):
        assert _mask(mask=mask, bounding_box=[0, 0, 1, 1]) == encode_mask(FOUND[0])


def test_boxes_between_pixels_are_rounded_as_the_importer_does() -> None:
    x, y, width, height = 3.4, 2.6, 5.2, 4.3
    crop = np.zeros(SIZE, bool)[round(y) : round(y + height), round(x) : round(x + width)]
    crop[:] = True
    box = [x / SIZE[1], y / SIZE[0], width / SIZE[1], height / SIZE[0]]
    expected = np.zeros(SIZE, bool)
    expected[3:7, 3:9] = True
    (region,) = _regions(mask=packed_array(crop), bounding_box=box)
    assert (region.mask, region.is_lossy) == (encode_mask(expected), False)


def test_a_box_that_was_drawn_anew_stretches_its_mask() -> None:
    box = [10 / SIZE[1], 4 / SIZE[0], 12 / SIZE[1], 10 / SIZE[0]]
    (region,) = _regions(mask=packed_array(np.ones((2, 3), bool)), bounding_box=box)
    expected = np.zeros(SIZE, bool)
    expected[4:14, 10:22] = True
    assert (region.mask, region.is_lossy) == (encode_mask(expected), True)
    assert not _regions(mask=packed_array(np.ones((9, 9), bool)), bounding_box=[0.5, 0.5, 0, 0])


def test_a_box_over_the_border_is_cut() -> None:
    box = [-1 / SIZE[1], 0, 4 / SIZE[1], 2 / SIZE[0]]
    assert decode_mask(_mask(mask=packed_array(np.ones((2, 4), bool)), bounding_box=box)).sum() == 6


def test_attributes_in_both_ways_and_tags() -> None:
    nested = {"record": {"_cls": "CategoricalAttribute", "value": "r"}, "review": "accepted"}
    (region,) = _regions(attributes=nested, tags=["rejected", "later"])
    assert (region.record, region.said, region.phrase) == ("r", "rejected", "phrase 0")
    (region,) = _regions(attributes=nested, tags=["rejected", "accepted"])
    assert region.said == "accepted"


def test_masks_stand_in_one_field() -> None:
    content = fiftyone(FOUND[:1])
    content["samples"][0]["other"] = content["samples"][0]["reviewed"]
    with pytest.raises(ValueError, match="several fields: other, reviewed"):
        list(read_fiftyone(content, "f"))


def test_a_sample_without_masks_was_reviewed() -> None:
    content = fiftyone([])
    content["samples"][0]["reviewed"] = None
    (image,) = read_fiftyone(content, "f")
    assert image.reviews[0].regions == ()


def _npy(header: bytes, body: bytes) -> str:
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body
    return base64.b64encode(zlib.compress(data)).decode()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"mask": 5}, "base64"),
        ({"mask": {"$binary": {}}}, "base64"),
        ({"mask": "abcde"}, "compressed array"),
        ({"mask": base64.b64encode(zlib.compress(b"x")).decode()}, "two dimensions"),
        ({"mask": base64.b64encode(zlib.compress(bytes(10**7))).decode()}, "two dimensions"),
        ({"mask": packed_array(np.zeros(5))}, "two dimensions"),
        ({"mask": packed_array(np.zeros((0, 5)))}, "as large as it says"),
        ({"mask": packed_array(np.zeros((300, 300)))}, "larger than its image"),
        ({"mask": _npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (3, 3), }\n", b"")}, "two dimensions"),
        ({"mask": _npy(b"{'descr': '|b1', 'fortran_order': False, 'shape': (3, 3), }\n", b"1")}, "as large as it"),
        ({"mask": _npy(b"{'descr': '|b1', 'fortran_order': False, 'shape': (99999, 99999), }\n", b"")}, "as large as"),
        ({"mask": None, "mask_path": "a.png"}, "mask_path"),
        ({"bounding_box": [0, 0, 1]}, "bounding_box"),
        ({"bounding_box": [0, 0, 1, None]}, "within"),
        ({"bounding_box": [0, 0, 1, "x"]}, "finite"),
        ({"bounding_box": [0, 0, 9, 9]}, "within"),
        ({"confidence": "x"}, "score"),
        ({"attributes": 5}, "attributes"),
    ],
)
def test_detections_that_are_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        _regions(**changed)
    assert f"f: sample {'f' * 24}, detection {'0' * 24}" in str(caught.value)


def test_metadata_must_be_there() -> None:
    content = fiftyone(FOUND[:1])
    content["samples"][0]["metadata"] = None
    with pytest.raises(ValueError, match="compute_metadata"):
        list(read_fiftyone(content, "f"))
