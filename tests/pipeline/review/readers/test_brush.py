"""Brush strokes: the bytes of Label Studio's own converter, written here as its format is defined."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from litelvlm.pipeline.review.readers.brush import decode_brush, encode_brush
from tests.pipeline.review.readers.written import SIZE, masks


def _packed(bits: str) -> list[int]:
    bits += "0" * (8 - len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def _head(count: int, value_bits: int = 8) -> str:
    return f"{count:032b}{value_bits - 1:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))


def _literal(mask: np.ndarray) -> list[int]:
    """The format's definition, run by run, as `label_studio_sdk.converter.brush.mask2rle` makes it."""
    values = np.repeat(mask.ravel().astype(np.uint8) * 255, 4)
    starts = [0, *(np.flatnonzero(np.diff(values.astype(int))) + 1).tolist(), values.size]
    bits = _head(values.size)
    for start, stop in itertools.pairwise(starts):
        length, value = stop - start, f"{values[start]:08b}"
        while length > 2**16:
            bits += "111" + f"{2**16 - 1:016b}" + value
            length -= 2**16
        if stop - start <= 8:
            bits += "100" + f"{length - 1:03b}" + value
        elif stop - start <= 16:
            bits += "101" + f"{length - 1:04b}" + value
        elif stop - start <= 256:
            bits += "110" + f"{length - 1:08b}" + value
        else:
            bits += "111" + f"{length - 1:016b}" + value
    return _packed(bits)


LARGE = [np.zeros((300, 301), bool), np.ones((256, 64), bool), np.ones((256, 256), bool)]


@pytest.mark.parametrize("mask", [*masks(), *LARGE, np.zeros((1, 1), bool), np.ones((1, 3), bool)])
def test_masks_are_written_as_label_studio_does_and_read_back(mask: np.ndarray) -> None:
    brush = encode_brush(mask)
    assert brush == _literal(mask)
    assert (decode_brush(brush, mask.shape) == mask * np.uint8(255)).all()


def test_known_bytes() -> None:
    """What `mask2rle` of label-studio-sdk 2.0.1 gives for a mask of one pixel inside, one outside and two inside."""
    assert encode_brush(np.array([[1, 0], [1, 1]], bool)) == [0, 0, 0, 16, 57, 27, 252, 127, 241, 128, 79, 254]


def test_values_that_differ_are_read_in_groups() -> None:
    """What a brush with soft edges leaves: colours that stay, and an alpha of all values."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 4)).astype(np.uint8)
    values = pixels.ravel().tolist()
    bits = _head(len(values))
    for start, stop in ((0, 3), (3, 4), (4, 90), (90, 140)):
        size = next(index for index, limit in enumerate((8, 16, 256)) if stop - start <= limit)
        bits += f"0{size:02b}{stop - start - 1:0{(3, 4, 8)[size]}b}" + "".join(
            f"{value:08b}" for value in values[start:stop]
        )
    assert (decode_brush(_packed(bits), (5, 7)) == pixels[..., 3]).all()


def test_a_megapixel_takes_milliseconds() -> None:
    rows, columns = np.ogrid[:1000, :1000]
    mask = (rows - 500) ** 2 + (columns - 500) ** 2 < 160_000
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        assert (decode_brush(encode_brush(mask), mask.shape) >= 128).sum() == mask.sum()
        times.append(time.perf_counter() - begun)
    assert min(times) < 0.2


GOOD = encode_brush(masks()[0])


@pytest.mark.parametrize(
    ("rle", "words"),
    [
        ("text", "expected a list"),
        (5, "expected a list"),
        ([1, 2, 256], "0 to 255"),
        ([1, "2"], "0 to 255"),
        ([1.5], "0 to 255"),
        ([], "header"),
        (GOOD[:20], "ends before its image"),
        (_packed(_head(4 * SIZE[0] * SIZE[1], 16)), "16 bits"),
        (_packed(_head(4)), "4 values are not"),
        (_packed(_head(2**32 - 1)), "values are not"),
        (_packed(_head(4 * SIZE[0] * SIZE[1]) + "111" + "1" * 16 + "0" * 8), "outside the image"),
        (_packed(_head(4 * SIZE[0] * SIZE[1]) + "011" + "1" * 16 + "0" * 80), "ends before its image"),
    ],
)
def test_what_is_no_brush_is_refused(rle: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_brush(rle, SIZE)


def test_a_mask_has_two_dimensions() -> None:
    with pytest.raises(ValueError, match="shape"):
        encode_brush(np.zeros((0, 4), bool))
