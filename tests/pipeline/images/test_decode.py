"""Untrusted bytes become an upright RGB image or a short reason, and nothing else."""

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageFile

from litelvlm.pipeline.images.decode import DecodedImage, ImageError, decode_image
from tests.pipeline.wild import (
    broken_images,
    encode,
    image_bombs,
    picture,
    png_header,
    wild_images,
)

# pytest resets the warning filters that the module sets at import; test_nothing_is_printed looks at the real thing.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")

WILD = wild_images()
BROKEN = broken_images()
BOMBS = image_bombs()


@pytest.mark.parametrize("name", WILD)
def test_images_in_the_wild_come_out_upright_and_right(name: Any) -> None:
    wild = WILD[name]
    decoded = decode_image(wild.data)
    assert decoded.rgb.dtype == np.uint8
    assert decoded.rgb.flags.writeable
    assert decoded.size_hw == wild.size_hw
    difference = np.abs(decoded.rgb.astype(int) - wild.expected.astype(int)).mean()
    assert difference <= wild.tolerance
    assert any(wild.note in note for note in decoded.notes) if wild.note else decoded.notes == ()


@pytest.mark.parametrize("name", BROKEN)
def test_broken_images_end_as_a_reason(name: Any) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(BROKEN[name])
    assert caught.value.code == name.split()[0]
    assert str(caught.value).startswith(f"{caught.value.code}: ")
    assert str(caught.value).isprintable()
    with pytest.raises(ImageError) as again:
        decode_image(BROKEN[name])
    assert str(again.value) == str(caught.value)


def test_limits() -> None:
    data = WILD["png"].data
    assert decode_image(data, max_pixels=24 * 36).size_hw == (24, 36)
    with pytest.raises(ImageError, match="too_many_pixels: declared size 36x24, the limit is 863 pixels"):
        decode_image(data, max_pixels=24 * 36 - 1)
    with pytest.raises(ImageError, match="too_many_bytes"):
        decode_image(data, max_bytes=len(data) - 1)


def test_no_pixel_of_a_bomb_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    with pytest.raises(ImageError, match="too_many_pixels"):
        decode_image(png_header(20_000, 20_000))


def test_a_small_image_with_a_huge_tile_is_refused() -> None:
    # Tile width and length of 2**20 each: decoding one tile would take 3 TiB.
    tags = [(256, 3, 8), (257, 3, 8), (258, 3, 8), (259, 3, 5), (262, 3, 1), (277, 3, 1)]
    tags += [(322, 4, 2**20), (323, 4, 2**20), (324, 4, 200), (325, 4, 10)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(100)
    with pytest.raises(ImageError, match="too_many_pixels: declared tile 1048576x1048576"):
        decode_image(data)


def test_half_an_image_fails_even_where_another_library_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ImageError, match="truncated"):
        decode_image(BROKEN["truncated jpeg"])


def test_only_listed_decoders_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("PPM", "TGA", "PCX", "SGI", "DDS", "ICO", "JPEG2000"):
        data = encode(Image.fromarray(picture()), kind)
        with pytest.raises(ImageError):
            decode_image(data)


def test_nothing_is_printed(tmp_path: Path) -> None:
    data = dict(BROKEN, **{name: wild.data for name, wild in WILD.items()})
    data["odd tiff"] = _tiff_with_odd_metadata()
    data["bytes transparency"] = _palette_with_bytes_transparency()
    for index, content in enumerate(data.values()):
        (tmp_path / str(index)).write_bytes(content)
    program = """
import pathlib, sys
from litelvlm.pipeline.images.decode import ImageError, decode_image
for path in pathlib.Path(sys.argv[1]).iterdir():
    try:
        decode_image(path.read_bytes(), max_pixels=4 * 10**9 if path.stat().st_size > 10**6 else 10**8)
    except ImageError:
        pass
"""
    command = [sys.executable, "-W", "always", "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def _tiff_with_odd_metadata() -> bytes:
    image = Image.fromarray(picture())
    data = bytearray(encode(image, "TIFF", tiffinfo={270: "x" * 40}))
    place = data.find(struct.pack("<H", 270))
    data[place + 8 : place + 12] = struct.pack("<I", 10**8)  # the description lies beyond the end of the file
    return bytes(data)


def _palette_with_bytes_transparency() -> bytes:
    image = Image.fromarray(picture()).quantize(4)
    return encode(image, "PNG", transparency=bytes([0, 90, 200, 255]))


@pytest.mark.parametrize(
    "name", ["jpeg", "png", "webp", "animated gif", "tiff lzw", "16-bit grey png", "exif 6 webp", "bmp"]
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(st.data())
def test_damaged_images_give_an_image_or_a_reason(name: str, data: Any) -> None:
    content = bytearray(WILD[name].data)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(1, len(content))) :]
    _check_outcome(bytes(content))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.sampled_from(
        [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF\0\0\0\0WEBP", b"<"]
    ),
    st.binary(),
)
def test_noise_gives_an_image_or_a_reason(magic: Any, noise: Any) -> None:
    _check_outcome(magic + noise)


def _check_outcome(content: bytes) -> None:
    decoded, reason = None, "no reason"
    try:
        decoded = decode_image(content, max_pixels=1_000_000)
    except ImageError as error:
        reason = str(error)
    if isinstance(decoded, DecodedImage):
        assert decoded.rgb.ndim == 3
        assert decoded.rgb.shape[2] == 3
        assert decoded.rgb.shape[0] * decoded.rgb.shape[1] <= 1_000_000
    else:
        assert reason.isprintable()
        assert len(reason) <= 230
        assert ": " in reason
        assert "0x" not in reason


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize(
    ("needed", "shrunk"), [((100, 150), 4), ((101, 150), 2), ((400, 600), 1), ((900, 900), 1), (None, 1)]
)
def test_a_jpeg_is_decoded_no_larger_than_needed(needed: Any, shrunk: int, orientation: int) -> None:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (8, 12, 3), dtype=np.uint8)).resize(
        (600, 400), Image.Resampling.BICUBIC
    )
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encode(smooth, "JPEG", exif=exif)
    whole, small = decode_image(data), decode_image(data, needed_size=lambda size_hw: needed)
    assert small.size_hw == whole.size_hw == ((600, 400) if orientation == 6 else (400, 600))
    assert small.rgb.shape == (whole.rgb.shape[0] // shrunk, whole.rgb.shape[1] // shrunk, 3)
    reduced = Image.fromarray(whole.rgb).resize(small.rgb.shape[1::-1], Image.Resampling.BOX)
    assert np.abs(np.asarray(reduced).astype(int) - small.rgb).mean() < 2


def test_other_formats_are_decoded_whole() -> None:
    data = encode(Image.fromarray(picture()), "PNG")
    assert decode_image(data, needed_size=lambda size_hw: (3, 3)).rgb.shape[:2] == picture().shape[:2]
