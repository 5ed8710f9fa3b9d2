"""Files that are damaged where it costs no pixel."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image

from litelvlm.pipeline.images.repair import jpeg_endings, png_without_metadata
from tests.pipeline.wild import encode

PNG = encode(Image.fromarray(np.arange(600, dtype=np.uint16).astype(np.uint8).reshape(10, 20, 3)), "PNG")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_png_loses_its_metadata_and_nothing_else() -> None:
    extra = b"".join(chunk(kind, b"x" * 40) for kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"sPLT"))
    assert png_without_metadata(PNG[:33] + extra + PNG[33:]) == PNG
    assert png_without_metadata(PNG) == PNG
    kept = chunk(b"gAMA", b"\0\0\xb1\x8f")
    assert png_without_metadata(PNG[:33] + kept + extra + PNG[33:]) == PNG[:33] + kept + PNG[33:]


def test_a_png_whose_chunks_make_no_sense_ends_where_they_end() -> None:
    for cut in range(len(PNG)):
        assert png_without_metadata(PNG[:cut]) == PNG[:cut]
    lying = PNG[:33] + struct.pack(">I", 2**31) + b"tEXt" + PNG[33:]
    assert len(png_without_metadata(lying)) <= len(lying)


def test_both_endings_of_a_jpeg_end_it() -> None:
    one, other = jpeg_endings(b"\xff\xd8 data \xff")
    assert one == b"\xff\xd8 data \xff\xd9"
    assert other.startswith(b"\xff\xd8 data ")
    assert other.endswith(b"\xff\xd9")
    assert len(other) > len(one)
    assert b"\xff" not in other[8:-2], "the filling holds no marker"
