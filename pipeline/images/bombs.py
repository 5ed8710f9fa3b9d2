"""Small image files that would cost a decoder hours or gigabytes, told from their headers before it sees them.

Checked here is what a format allows beyond the size in pixels, or what a decoder does before that size can be asked
for. Each check walks the file's own structure once, in time linear in its length.
"""

import struct
from collections.abc import Callable

# A scan passes over the whole picture, so that a few kilobytes of scans could take hours.
MAX_JPEG_SCANS = 500
MAX_SCANNED_PIXELS = 4_000_000_000
# Run-length BMP files are decoded a pixel at a time by Python, and a skip of four bytes may stand for 255 rows.
MAX_RLE_PIXELS = 16_000_000
MAX_RLE_WIDTH = 65_536
# Decoders look at segments, chunks and blocks one by one, and join some of them by copying all that came before.
MAX_SEGMENTS = 10_000
MAX_EXIF_SEGMENTS = 16
MAX_JUNK_BYTES = 65_536
MAX_CHUNKS = 200_000
MAX_GIF_BLOCKS = 2_000_000
MAX_GIF_COMMENTS = 4_096

Bomb = tuple[str, str]  # code and words


def find_bomb(kind: str, data: bytes, max_pixels: int) -> Bomb | None:
    """Why this file must not reach a decoder, as a code and words; None where there is no reason to see.

    `kind` is the format's name, see `pipeline.images.sniff`. Whether the file is sound is for the decoder to say.
    """
    check = _CHECKS.get(kind)
    try:
        return check(data, max_pixels) if check else None
    except (IndexError, struct.error):  # the data ends early
        return None


def _jpeg(data: bytes, max_pixels: int) -> Bomb | None:
    num_scans = data.count(b"\xff\xda")
    if num_scans > MAX_JPEG_SCANS:
        return "too_many_scans", f"a JPEG with more than {MAX_JPEG_SCANS} scans"
    place, junk, segments, exif, pixels = 2, 0, 0, 0, 0
    while True:
        found = data.find(b"\xff", place)
        junk += (len(data) if found < 0 else found) - place
        if junk > MAX_JUNK_BYTES or segments > MAX_SEGMENTS or exif > MAX_EXIF_SEGMENTS:
            return "bomb", f"a JPEG with {segments} segments, {exif} of them EXIF, and {junk} bytes between them"
        marker = data[found + 1] if found >= 0 else 0xDA
        if marker == 0xDA:
            break
        place = found + 1 if marker in (0x00, 0xFF) else found + 2
        if marker in (0x00, 0xFF):
            junk += 1
            continue
        segments += 1
        if not _has_length(marker):
            continue
        exif += marker == 0xE1 and data.startswith(b"Exif\0\0", place + 2)
        if marker == 0xDE or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xCC)):
            height, width = struct.unpack_from(">HH", data, place + 3)
            pixels = height * width
            if pixels > max_pixels:
                return _too_many_pixels(width, height, max_pixels)
        place += max(2, struct.unpack_from(">H", data, place)[0])
    if num_scans * pixels > MAX_SCANNED_PIXELS:
        return "too_many_scans", f"a JPEG of {pixels} pixels with {num_scans} scans"
    return None


def _has_length(marker: int) -> bool:
    return not (marker in (0x01, 0xC8) or 0xD0 <= marker <= 0xD9 or 0xF0 <= marker <= 0xFD)


def _png(data: bytes, max_pixels: int) -> Bomb | None:
    place = 8
    for _ in range(MAX_CHUNKS):
        if place + 8 > len(data):
            return None
        (length,) = struct.unpack_from(">I", data, place)
        if data.startswith(b"IHDR", place + 4):
            # An animation's first frame is prepared, at this size, while the file is opened.
            width, height = struct.unpack_from(">II", data, place + 8)
            if width * height > max_pixels:
                return _too_many_pixels(width, height, max_pixels)
        place += length + 12
    return "bomb", f"a PNG with more than {MAX_CHUNKS} chunks"


def _gif(data: bytes, max_pixels: int) -> Bomb | None:
    """Up to the second frame, which is looked for to tell an animation."""
    width, height = struct.unpack_from("<HH", data, 6)
    place, blocks, comments, frames = 13 + _palette_bytes(data[10]), 0, 0, 0
    while place < len(data) and frames < 2 and data[place] != 0x3B:
        kind, label = data[place], data[place + 1]
        if kind == 0x2C:
            left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, place + 1)
            width, height = max(width, left + frame_width), max(height, top + frame_height)
            if width * height > max_pixels:
                return _too_many_pixels(width, height, max_pixels)
            frames += 1
            place += 11 + _palette_bytes(data[place + 9])
        else:
            place += 2 if kind == 0x21 else 1
        blocks += 1
        if kind in (0x21, 0x2C):
            place, passed = _skip_blocks(data, place, MAX_GIF_BLOCKS - blocks)
            blocks += passed
            comments += passed if kind == 0x21 and label == 0xFE else 0
        if blocks >= MAX_GIF_BLOCKS or comments > MAX_GIF_COMMENTS:
            return "bomb", f"a GIF with {blocks} blocks, {comments} of them comments, before its second frame"
    return None


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skip_blocks(data: bytes, place: int, limit: int) -> tuple[int, int]:
    """Where the chain of sub-blocks that starts at `place` ends, and how many it has, the closing one included."""
    passed = 0
    while place < len(data) and passed < limit:
        length = data[place]
        passed += 1
        place += 1 + length
        if length == 0:
            break
    return place, passed


def _bmp(data: bytes, max_pixels: int) -> Bomb | None:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes < 40 or struct.unpack_from("<I", data, 30)[0] not in (1, 2):
        return None
    width, height = struct.unpack_from("<ii", data, 18)
    if abs(width) > MAX_RLE_WIDTH or abs(width * height) > MAX_RLE_PIXELS:
        return "too_many_pixels", (
            f"declared size {width}x{height}, the limit for run lengths is {MAX_RLE_WIDTH} pixels in width and "
            f"{MAX_RLE_PIXELS} in all"
        )
    return None


def _webp(data: bytes, max_pixels: int) -> Bomb | None:
    """The canvas of the extended format; frames without one are at most 16,383 pixels wide and high."""
    if data[12:16] != b"VP8X":
        return None
    width, height = (int.from_bytes(data[place : place + 3], "little") + 1 for place in (24, 27))
    return _too_many_pixels(width, height, max_pixels) if width * height > max_pixels else None


def _too_many_pixels(width: int, height: int, max_pixels: int) -> Bomb:
    return "too_many_pixels", f"declared size {width}x{height}, the limit is {max_pixels} pixels"


_CHECKS: dict[str, Callable[[bytes, int], Bomb | None]] = {
    "jpeg": _jpeg,
    "png": _png,
    "gif": _gif,
    "bmp": _bmp,
    "webp": _webp,
}
