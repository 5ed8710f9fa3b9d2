"""Untrusted bytes become an upright RGB image or a short reason, and nothing else."""

import os
import struct
import subprocess
import sys
import zlib
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


PHOTO = np.asarray(Image.fromarray(picture()).resize((400, 300)))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}])
@pytest.mark.parametrize("cut", [1, 2])
def test_a_jpeg_without_its_end_marker_has_all_of_its_pixels(options: Any, cut: int) -> None:
    whole = encode(Image.fromarray(PHOTO), "JPEG", quality=90, **options)
    decoded = decode_image(whole[:-cut])
    assert np.array_equal(decoded.rgb, decode_image(whole).rgb)
    assert decoded.notes == (("jpeg: its end marker is missing, no pixel is",) if cut == 2 else decoded.notes)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.995])
def test_a_jpeg_that_lacks_pixels_fails_unless_what_there_is_is_asked_for(options: Any, kept: float) -> None:
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 255, (200, 300, 3)).astype(np.uint8))
    whole = encode(noise, "JPEG", quality=90, **options)
    half = whole[: int(kept * len(whole))]
    with pytest.raises(ImageError, match="truncated"):
        decode_image(half)
    decoded = decode_image(half, keep_truncated=True)
    assert decoded.size_hw == (200, 300)
    assert decoded.notes == ("jpeg: truncated, what is missing is grey",)
    first = slice(0, 40) if not options else slice(0, 0)
    assert np.array_equal(decoded.rgb[first], decode_image(whole).rgb[first])


def test_nothing_is_made_of_a_jpeg_without_pixels() -> None:
    whole = encode(Image.fromarray(PHOTO), "JPEG")
    for cut in (10, 100, 300):
        with pytest.raises(ImageError):
            decode_image(whole[:cut])


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(5_000_000))),
        png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(5_000_000))),
        png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(5_000_000))),
        png_chunk(b"tEXt", b"Comment\0" + b"x" * 2_000_000) * 40,
        png_chunk(b"zTXt", b"Comment\0\0" + b"no deflate"),
    ],
    ids=["iTXt", "zTXt", "iCCP", "many tEXt", "damaged zTXt"],
)
def test_metadata_never_costs_a_png_its_pixels(chunk: bytes) -> None:
    plain = encode(Image.fromarray(PHOTO), "PNG")
    decoded = decode_image(plain[:33] + chunk + plain[33:])  # behind the header
    assert np.array_equal(decoded.rgb, PHOTO)
    assert all("metadata" in note for note in decoded.notes)


def tiff(
    array: Any, *, planes: bool, sample_format: int = 1, photometric: int = 2, extra: tuple[int, ...] = ()
) -> bytes:
    """An uncompressed TIFF of an array (H, W, C), its channels together or one after the other."""
    height, width, count = array.shape
    data = np.ascontiguousarray(array.transpose(2, 0, 1)).tobytes() if planes else array.tobytes()
    strips = count if planes else 1
    tags: dict[int, tuple[int, list[int]]] = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [array.dtype.itemsize * 8] * count), 259: (3, [1]),
        262: (3, [photometric]), 273: (4, [0] * strips), 277: (3, [count]), 278: (4, [height]),
        279: (4, [len(data) // strips] * strips), 284: (3, [2 if planes else 1]), 339: (3, [sample_format] * count),
    }  # fmt: skip
    if extra:
        tags[338] = (3, list(extra))
    place, places = 8 + 2 + 12 * len(tags) + 4, {}
    for tag, (form, values) in sorted(tags.items()):
        size = {3: 2, 4: 4}[form] * len(values)
        if size > 4:
            places[tag], place = place, place + size
    tags[273] = (4, [place + number * (len(data) // strips) for number in range(strips)])
    entries, blob = b"", b""
    for tag, (form, values) in sorted(tags.items()):
        packed = struct.pack("<" + {3: "H", 4: "I"}[form] * len(values), *values)
        blob += packed if tag in places else b""
        where = struct.pack("<I", places[tag]) if tag in places else packed.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, form, len(values)) + where
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + blob + data


GREY = PHOTO[:, :, :1]
ALPHA = np.full((300, 400, 1), 255, np.uint8)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tiff(PHOTO, planes=False), PHOTO),
        (tiff(PHOTO, planes=True), PHOTO),
        (tiff(PHOTO.astype("<u2") * 257, planes=False), PHOTO),
        (tiff(PHOTO.astype("<u2") * 257, planes=True), None),
        (tiff(np.dstack([PHOTO, ALPHA]).astype("<u2") * 257, planes=True, extra=(2,)), None),
        (tiff((GREY.astype(int) - 128).astype("i1"), planes=False, sample_format=2, photometric=1), None),
        (tiff((PHOTO.astype(int) - 128).astype("i1"), planes=False, sample_format=2), None),
        (tiff((PHOTO.astype(int) * 100 - 9_000).astype("<i2"), planes=False, sample_format=2), None),
        (tiff(GREY.astype("<u2") * 257, planes=False, photometric=1), np.repeat(GREY, 3, 2)),
    ],
    ids=["8", "8 planes", "16", "16 planes", "16 planes alpha", "signed grey", "signed", "signed 16", "grey 16"],
)
def test_a_tiff_is_decoded_right_or_refused(data: bytes, expected: Any) -> None:
    if expected is None:
        with pytest.raises(ImageError, match=r"unsupported_pixels|undecodable|truncated"):
            decode_image(data)
    else:
        assert np.abs(decode_image(data).rgb.astype(int) - expected).max() <= 1


def test_ycbcr_without_compression_is_what_pillow_wrote() -> None:
    data = encode(Image.fromarray(PHOTO).convert("YCbCr"), "TIFF")
    assert np.abs(decode_image(data).rgb.astype(int) - PHOTO).max() <= 3
    lying = data.replace(struct.pack("<HHI", 279, 4, 1), struct.pack("<HHI", 40_279, 4, 1))  # no size of strips
    with pytest.raises(ImageError, match="unsupported_pixels: tiff: YCbCr with fewer colours than pixels"):
        decode_image(lying)


def test_a_bitmap_whose_fourth_byte_nobody_wrote_is_opaque() -> None:
    rgba = np.dstack([PHOTO, np.zeros((300, 400), np.uint8)])
    pixels = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 400, 300, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks + bytes(52)
    data = b"BM" + struct.pack("<IHHI", 14 + 108 + len(pixels), 0, 0, 14 + 108) + header + pixels
    decoded = decode_image(data)
    assert np.array_equal(decoded.rgb, PHOTO)
    assert decoded.notes == ("alpha: 0 everywhere, not looked at",)
    hidden = encode(Image.fromarray(rgba), "PNG")
    assert (decode_image(hidden).rgb == 255).all(), "elsewhere it is what somebody wanted"


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
