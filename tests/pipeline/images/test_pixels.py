"""Every pixel layout becomes 8-bit RGB as a person would see it."""

import struct

import numpy as np
import pytest
from PIL import Image

from litelvlm.pipeline.images.decode import decode_image
from litelvlm.pipeline.images.pixels import UnsupportedPixels, to_rgb
from tests.pipeline.wild import encode, picture


def _rgb(image: Image.Image, *raw_modes: str) -> tuple[list[list[tuple[int, ...]]], list[str]]:
    found, notes = to_rgb(image, list(raw_modes))
    assert (found.mode, found.size) == ("RGB", image.size)
    return [[tuple(pixel) for pixel in row] for row in np.asarray(found).tolist()], notes


def test_transparent_pixels_are_seen_on_white() -> None:
    rgba = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]], np.uint8)
    # A fifth of the colour and four fifths of white: 200 / 5 + 204, 100 / 5 + 204, 204.
    found, notes = _rgb(Image.fromarray(rgba))
    assert found == [[(200, 100, 0), (255, 255, 255), (244, 224, 204)]]
    assert notes == ["alpha: composited on white"]


def test_an_alpha_channel_that_hides_nothing_is_not_worth_a_note() -> None:
    rgba = np.array([[[200, 100, 0, 255]]], np.uint8)
    assert _rgb(Image.fromarray(rgba)) == ([[(200, 100, 0)]], [])


def test_16_bits_keep_their_range() -> None:
    grey = Image.fromarray(np.array([[0, 257, 32_896, 65_535]], np.uint16))
    assert _rgb(grey) == ([[(0, 0, 0), (1, 1, 1), (128, 128, 128), (255, 255, 255)]], ["16-bit: rescaled to 8"])
    colour = Image.fromarray(picture())
    assert to_rgb(colour, ["RGB;16B"])[1] == ["16-bit: rescaled to 8"]  # Pillow dropped the low bytes itself


@pytest.mark.parametrize(
    ("values", "levels", "how"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255], "0 to 1"),
        (np.array([[-1.0, 0.0, 3.0]], np.float32), [0, 64, 255], "least to largest"),
        (np.array([[0, 257, 65_535]], np.int32), [0, 1, 255], "16 bits"),
        (np.array([[10, 10, 10]], np.int32) - 20, [0, 0, 0], "least to largest"),
    ],
)
def test_32_bits_are_read_by_what_they_hold(values: np.ndarray, levels: list[int], how: str) -> None:
    found, notes = _rgb(Image.fromarray(values))
    assert found == [[(level,) * 3 for level in levels]]
    assert notes == [f"32-bit: rescaled to 8 ({how})"]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_plain_layouts_are_converted_as_pillow_does(mode: str) -> None:
    image = Image.fromarray(picture()).convert(mode)
    found, notes = to_rgb(image, [])
    np.testing.assert_array_equal(np.asarray(found), np.asarray(image.convert("RGB")))
    assert notes == (["cmyk: converted without a colour profile"] if mode == "CMYK" else [])


def test_a_layout_without_a_defined_way_to_rgb_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedPixels, match="pixel layout LAB"):
        to_rgb(Image.new("LAB", (2, 2)), [])


def test_nan_and_infinity_in_a_float_image() -> None:
    values = np.array([[np.nan, 0.0], [np.inf, 1.0]], np.float32)
    decoded = decode_image(encode(Image.fromarray(values), "TIFF"))
    assert decoded.rgb[:, :, 0].tolist() == [[0, 0], [0, 255]]
    largest = float(np.finfo(np.float32).max)
    decoded = decode_image(encode(Image.fromarray(np.array([[-largest, 0, largest]], np.float32)), "TIFF"))
    assert decoded.rgb[0, :, 0].tolist() == [0, 128, 255]
    decoded = decode_image(encode(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF"))
    assert not decoded.rgb.any()


def test_a_dim_12_bit_tiff_keeps_its_declared_range() -> None:
    values = np.array([[0, 4095], [2048, 16]], np.uint16)
    packed = b"".join(struct.pack(">I", int(a) << 12 | int(b))[1:] for a, b in values)
    tags = [(256, 3, 2), (257, 3, 2), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 122), (277, 3, 1), (278, 3, 2)]
    tags += [(279, 4, len(packed))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + packed
    assert len(data) - len(packed) == 122
    decoded = decode_image(data)
    assert decoded.rgb[:, :, 0].tolist() == [[0, 255], [128, 1]]
    assert "12-bit" in decoded.notes[0]
