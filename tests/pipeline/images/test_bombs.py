"""Files that would cost a decoder hours or gigabytes are told from their headers; sound ones pass."""

import struct
import time
import tracemalloc
from typing import Any

import pytest
from PIL import Image

from litelvlm.pipeline.images.bombs import MAX_JPEG_SCANS, find_bomb
from litelvlm.pipeline.images.decode import ImageError, decode_image
from tests.pipeline.wild import bmp_run_lengths, encode, image_bombs, jpeg_with_scans, picture, wild_images

WILD = wild_images()
BOMBS = image_bombs()
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")


@pytest.mark.parametrize("kind", FORMATS)
def test_the_limit_on_pixels_is_exact_and_a_sound_file_is_no_bomb(kind: str) -> None:
    data = encode(Image.fromarray(picture()), kind)
    assert find_bomb(kind.lower(), data, 24 * 36) is None
    if kind in ("JPEG", "PNG", "GIF"):  # of the others, only what goes beyond plain pixels is looked at here
        bomb = find_bomb(kind.lower(), data, 24 * 36 - 1)
        assert bomb == ("too_many_pixels", "declared size 36x24, the limit is 863 pixels")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_ends_anywhere_is_left_to_the_decoder(kind: str) -> None:
    data = encode(Image.fromarray(picture()), kind)
    for stop in range(0, len(data), 7):
        assert find_bomb(kind.lower(), data[:stop], 10**8) is None


def test_a_format_without_a_check_is_no_bomb() -> None:
    assert find_bomb("avif", b"anything", 1) is None


@pytest.mark.parametrize(("scans", "code"), [(MAX_JPEG_SCANS, None), (MAX_JPEG_SCANS + 1, "too_many_scans")])
def test_scans_are_counted(scans: int, code: str | None) -> None:
    data = encode(Image.new("L", (8, 8)), "JPEG")  # one scan
    bomb = find_bomb("jpeg", data + b"\xff\xda" * (scans - 1), 10**8)
    assert (bomb[0] if bomb else None) == code


def test_a_jpeg_with_pixels_but_few_scans_is_told_by_their_product() -> None:
    start_of_frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, 9_000, 9_000, 1) + b"\x01\x11\x00"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    assert find_bomb("jpeg", b"\xff\xd8" + start_of_frame + scan * 49, 10**8) is None  # 49 * 81e6 < 4e9
    bomb = find_bomb("jpeg", b"\xff\xd8" + start_of_frame + scan * 50, 10**8)
    assert bomb == ("too_many_scans", "a JPEG of 81000000 pixels with 50 scans")


def test_a_frame_outside_a_gifs_canvas_counts() -> None:
    frame = b"," + struct.pack("<HHHHB", 60_000, 0, 5_000, 1_000, 0) + b"\x02\x00"
    gif = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + frame + b";"
    assert find_bomb("gif", gif, 65_000_000) is None
    bomb = find_bomb("gif", gif, 64_999_999)
    assert bomb == ("too_many_pixels", "declared size 65000x1000, the limit is 64999999 pixels")


@pytest.mark.parametrize(
    ("width", "height", "refused"), [(4_000, 4_000, False), (4_000, -4_001, True), (65_537, 1, True)]
)
def test_run_lengths_of_a_bmp_have_limits_of_their_own(width: int, height: int, *, refused: bool) -> None:
    bomb = find_bomb("bmp", bmp_run_lengths(width, height, b""), 10**8)
    assert bool(bomb) == refused
    assert bomb is None or f"declared size {width}x{height}" in bomb[1]


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_cost_next_to_nothing(name: Any) -> None:
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(ImageError) as caught:
            decode_image(BOMBS[name])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == name.split()[0]
    assert time.process_time() - started < 2
    assert peak < 40_000_000


def test_many_comments_blocks_and_segments_are_fine() -> None:
    gif = WILD["palette gif"].data
    start = 13 + (3 << ((gif[10] & 7) + 1))
    assert decode_image(gif[:start] + b"!\xfe" + b"\1A" * 4_000 + b"\0" + gif[start:]).size_hw == (24, 36)
    jpeg = WILD["jpeg"].data
    assert decode_image(jpeg[:2] + b"\xff\xe5\0\2" * 9_000 + jpeg[2:]).size_hw == (24, 36)
    assert decode_image(bmp_run_lengths(4, 2, b"\x04\x01\0\0\x04\x02\0\1")).size_hw == (2, 4)


def test_a_progressive_jpeg_may_have_many_scans() -> None:
    assert decode_image(jpeg_with_scans(400)).size_hw == (24, 36)
