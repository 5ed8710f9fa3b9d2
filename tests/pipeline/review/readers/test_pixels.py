"""Masks of crops, outlines and PNG files."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.masks import decode_mask, encode_mask, mask_iou
from litelvlm.pipeline.review.readers import pixels as p
from tests.pipeline.review.readers.written import SIZE, crop_runs, masks, png

FOUND = masks()


def _url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.mark.parametrize("mask", FOUND)
def test_every_way_gives_the_mask(mask: np.ndarray) -> None:
    runs, box = crop_runs(mask)
    left, top, width, height = box
    level = mask * np.uint8(255)
    soft = np.where(mask, 128, 127).astype(np.uint8)
    colour = np.dstack([level // 2, level, level // 3])
    see_through = np.dstack([np.zeros((*SIZE, 3), np.uint8), soft])
    ways = [
        p.from_crop_runs(runs, SIZE, box, "f"),
        p.from_crop(mask[top : top + height, left : left + width], SIZE, (left, top), "f"),
        p.from_coco(encode_mask(mask).as_coco(), SIZE, "f"),
        *(p.from_data_url(_url(png(levels)), SIZE, "f") for levels in (level, soft, mask, colour, see_through)),
    ]
    assert all(way == encode_mask(mask) for way in ways)


def test_outlines_are_united_and_close() -> None:
    rings = [[2, 2, 12, 2, 12, 12, 2, 12], [8, 8, 20, 8, 20, 18, 8, 18]]
    expected = np.zeros(SIZE, bool)
    expected[2:12, 2:12] = expected[8:18, 8:20] = True
    found = p.from_rings([*rings, [1, 1, 2, 2]], SIZE, "f")
    assert found is not None
    assert mask_iou(found, encode_mask(expected)) > 0.98
    assert p.from_rings([[1, 1, 2, 2]], SIZE, "f") is None
    assert p.from_rings([], SIZE, "f") is None


@pytest.mark.parametrize(
    "rings", [5, [5], [[0, 0, 1, 0, 1]], [[0, 0, 1, 0, "x", 1]], [[0, 0, 1, 0, 1e9, 1]], [[0, 0, 1, 0, None, 1]]]
)
def test_outlines_that_are_none(rings: Any) -> None:
    with pytest.raises(ValueError, match=r"^f: "):
        p.from_rings(rings, SIZE, "f")


@pytest.mark.parametrize(
    ("runs", "box", "words"),
    [
        ([4], (0, 0, 3, 1), "do not fill"),
        ([-1, 4], (0, 0, 3, 1), "do not fill"),
        ([1.5, 1.5], (0, 0, 3, 1), "do not fill"),
        ([1] * 99, (0, 0, 3, 1), "too many"),
        (["3"], (0, 0, 3, 1), "no numbers"),
        ([True, 2], (0, 0, 3, 1), "no numbers"),
        ([10**400], (0, 0, 3, 1), "no numbers"),
        ([float("inf")], (0, 0, 3, 1), "finite"),
        ([3], (30, 0, 3, 1), "EXIF"),
        ([3], (-1, 0, 3, 1), "not within"),
        ([0], (0, 0, 0, 1), "not within"),
        ([1], (0, 0, 1 << 50, 1 << 50), "not within"),
    ],
)
def test_crops_that_are_none(runs: Any, box: tuple[int, int, int, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        p.from_crop_runs(runs, SIZE, box, "f")


def _bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 90_000, 90_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


GOOD = png(FOUND[0] * np.uint8(255))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (None, "does not begin"),
        ("http://host/a.png", "does not begin"),
        ("data:image/jpeg;base64,", "does not begin"),
        ("data:image/png;base64,abcde", "base64"),
        (_url(b"GIF89a"), "no PNG"),
        (_url(GOOD[:60]), "damaged"),
        (_url(GOOD[:50] + b"\0" * 20 + GOOD[70:]), "damaged"),
        (_url(_bomb()), "90000x90000, the limit is 713"),
        (_url(png(np.zeros((5, 5), np.uint8))), "5x5"),
        (_url(png(np.zeros(SIZE[::-1], np.uint8))), "EXIF"),
        (_url(png(np.zeros(SIZE, np.uint16))), "8 bits"),
    ],
)
def test_bitmaps_that_are_none(url: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        p.from_data_url(url, SIZE, "f")


def test_sizes_that_contradict_say_why() -> None:
    turned = encode_mask(FOUND[0].T).as_coco()
    with pytest.raises(ValueError, match="EXIF"):
        p.from_coco(turned, SIZE, "f")
    for size in (None, [1], ["a", "b"], [23, 31, 3], 5):
        with pytest.raises(ValueError, match="the image is 23x31"):
            p.from_coco({"size": size, "counts": "1"}, SIZE, "f")
    for wrong in ("x", 5, None, {"size": list(SIZE)}, {"size": list(SIZE), "counts": "0" * 9}):
        with pytest.raises(ValueError, match=r"^f: "):
            p.from_coco(wrong, SIZE, "f")
    assert decode_mask(p.from_coco({"size": list(SIZE), "counts": [SIZE[0] * SIZE[1]]}, SIZE, "f")).sum() == 0
