"""Images as they are found in the wild, made in memory: good ones with the upright picture they must decode to, and
broken ones.

All good images show the same picture, 24 high and 36 wide: four plain quarters, so that a wrong turn, a wrong channel
or a wrong scale shows.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, features

HEIGHT, WIDTH = 24, 36
RED, GREEN, BLUE, GREY = (220, 40, 30), (40, 200, 60), (30, 60, 210), (128, 128, 128)
EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True, kw_only=True)
class WildImage:
    """`data` and the upright (H, W, 3) uint8 picture that it shows; `tolerance` is the largest mean difference in
    levels."""

    data: bytes
    expected: np.ndarray
    tolerance: float = 0.0
    note: str = ""

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.expected.shape[0], self.expected.shape[1]


def picture() -> np.ndarray:
    """The (24, 36, 3) uint8 picture."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    half_h, half_w = HEIGHT // 2, WIDTH // 2
    rgb[:half_h, :half_w], rgb[:half_h, half_w:] = RED, GREEN
    rgb[half_h:, :half_w], rgb[half_h:, half_w:] = BLUE, GREY
    return rgb


def grey_picture() -> np.ndarray:
    """(24, 36) uint8, a ramp from 0 to 255 along the columns."""
    return np.tile(np.linspace(0, 255, WIDTH).round().astype(np.uint8), (HEIGHT, 1))


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """Bytes of a Pillow image."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def wild_images() -> dict[str, WildImage]:
    """Good images by name. Each must decode to `expected`, within `tolerance`, and mention `note`."""
    return {**_plain(), **_rotated(), **_grey(), **_deep(), **_transparent(), **_animated(), **_shapes()}


def broken_images() -> dict[str, bytes]:
    """Bytes by name that must end as a reason, never as an image or a crash. The name starts with the code of the
    reason."""
    jpeg = encode(Image.fromarray(picture()).resize((400, 300)), "JPEG")
    png = encode(Image.effect_noise((64, 64), 80), "PNG")
    return {
        "empty": b"",
        "truncated jpeg": jpeg[: len(jpeg) // 2],
        "truncated png": png[: len(png) // 2],
        "truncated jpeg header": jpeg[:15],
        "too_many_scans jpeg": jpeg_with_scans(1_000),
        "undecodable tiff lzw": _damaged_tiff("tiff_lzw"),
        "undecodable tiff deflate": _damaged_tiff("tiff_deflate"),
        "html": b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not found</body></html>",
        "html utf-16": "<html><body>Not found</body></html>".encode("utf-16"),
        "json": b'{"error": "rate limit exceeded"}',
        "xml": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
        "lfs_pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "unsupported_format pdf": b"%PDF-1.7\n",
        "unsupported_format postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "not_an_image text": b"hello",
        "not_an_image zeros": bytes(64),
        "too_many_pixels png": png_header(60_000, 60_000),
        "too_many_pixels bmp": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "too_many_pixels gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + _gif_frame(65_535, 65_535),
    }


def image_bombs() -> dict[str, bytes]:
    """Files of at most a few hundred kilobytes that would take a decoder gigabytes or hours. Named as
    `broken_images`."""
    image = Image.fromarray(picture())
    jpeg, png, gif = encode(image, "JPEG"), encode(image, "PNG"), encode(image.quantize(16), "GIF")
    behind_palette = 13 + (3 << ((gif[10] & 7) + 1))
    large_jpeg = encode(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    last = large_jpeg.rindex(b"\xff\xda")
    exif = b"\xff\xe1" + struct.pack(">H", 9) + b"Exif\0\0A"
    return {
        # A thousand tags of 200 kB each, all in the same place of the file.
        "bomb tiff tags": tiff_with_tags([(50_000 + tag, 7, 200_000, 8) for tag in range(1_000)], bytes(200_000)),
        "bomb tiff strips": tiff_with_tags([(273, 4, 300_000, 8), (278, 3, 1, 1)], bytes(1_200_000)),
        "bomb tiff passes": tiff_with_tags([(273, 4, 1_000, 8), (278, 3, 1, 4)], struct.pack("<I", 8) * 1_000),
        # Each skip of four bytes stands for 255 rows of 20 million pixels.
        "too_many_pixels bmp run lengths": bmp_run_lengths(20_000_000, 1, b"\x00\x02\xff\xff" * 9),
        "too_many_pixels bmp rows": bmp_run_lengths(9_000, 9_000, b"\x01\x00\x00\x00" * 9_000),
        # Comments are joined by copying all that came before.
        "bomb gif comment": gif[:behind_palette] + b"!\xfe" + b"\1A" * 5_000 + b"\0" + gif[behind_palette:],
        "bomb gif comments": gif[:behind_palette] + b"!\xfe\1A\0" * 5_000 + gif[behind_palette:],
        "bomb jpeg exif": jpeg[:2] + exif * 1_000 + jpeg[2:],
        "bomb jpeg segments": jpeg[:2] + b"\xff\xe5\0\2" * 20_000 + jpeg[2:],
        "bomb jpeg junk": jpeg[:2] + b"\xff\xe5\0\2" + bytes(100_000) + jpeg[2:],
        "too_many_scans jpeg large": large_jpeg[:last] + large_jpeg[last:-2] * 400 + large_jpeg[-2:],
        "bomb png chunks": png[:33] + png_chunk(b"teSt", b"") * 200_000 + png[33:],
        # The first frame of an animation is prepared, at full size, while the file is opened.
        "too_many_pixels png animation": png_header(60_000, 60_000)[:33]
        + png_chunk(b"acTL", struct.pack(">II", 2, 0))
        + png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 60_000, 60_000, 0, 0, 1, 1, 1, 0))
        + png_header(60_000, 60_000)[33:],
        "too_many_pixels webp canvas": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\2\0\0\0\xff\xff\0\xfe\xff\0" + bytes(8),
    }


def tiff_with_tags(tags: list[tuple[int, int, int, int]], body: bytes) -> bytes:
    """A grey TIFF of 8 x 8 pixels with more tags (number, type, count, value or place); `body` starts at byte 8."""
    given = {tag[0] for tag in tags}
    plain = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    plain += [(277, 3, 1, 1), (278, 3, 1, 8), (279, 4, 1, 64)]
    tags = sorted([tag for tag in plain if tag[0] not in given] + tags)
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + entries + bytes(4)


def bmp_run_lengths(width: int, height: int, body: bytes) -> bytes:
    """An 8-bit BMP with compression 1."""
    offset = 14 + 40 + 1024
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + header + bytes(1024) + body


def jpeg_with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = encode(Image.fromarray(picture()), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def _damaged_tiff(compression: str) -> bytes:
    data = bytearray(encode(Image.fromarray(picture()), "TIFF", compression=compression))
    data[8:40] = bytes(byte ^ 0x55 for byte in data[8:40])
    return bytes(data)


def png_header(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG that declares a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(body)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_16bit_rgb(rgb: np.ndarray) -> bytes:
    """A 16-bit colour PNG of an 8-bit (H, W, 3) picture; Pillow cannot write one."""
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in rgb)
    header = struct.pack(">IIBBBBB", rgb.shape[1], rgb.shape[0], 16, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff_16bit_rgb(rgb: np.ndarray) -> bytes:
    """An uncompressed 16-bit colour TIFF of an 8-bit (H, W, 3) picture; Pillow cannot write one."""
    height, width = rgb.shape[:2]
    pixels = (rgb.astype("<u2") * 257).tobytes()
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, None), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, None), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, len(pixels)), (284, 3, 1, 1),
    ]  # fmt: skip
    extra = 8 + 2 + 12 * len(tags) + 4
    places = {258: extra, 273: extra + 6}
    entries = b"".join(
        struct.pack("<HHII", tag, kind, count, places.get(tag, value)) for tag, kind, count, value in tags
    )
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4)
    return head + struct.pack("<HHH", 16, 16, 16) + pixels


def _gif_frame(width: int, height: int) -> bytes:
    return b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00;"


def _plain() -> dict[str, WildImage]:
    rgb = picture()
    image = Image.fromarray(rgb)
    images = {
        "png": WildImage(data=encode(image, "PNG"), expected=rgb),
        "bmp": WildImage(data=encode(image, "BMP"), expected=rgb),
        "tiff": WildImage(data=encode(image, "TIFF"), expected=rgb),
        "tiff lzw": WildImage(data=encode(image, "TIFF", compression="tiff_lzw"), expected=rgb),
        "jpeg": WildImage(data=encode(image, "JPEG", quality=95), expected=rgb, tolerance=6),
        "jpeg progressive": WildImage(
            data=encode(image, "JPEG", quality=95, progressive=True), expected=rgb, tolerance=6
        ),
        "webp": WildImage(data=encode(image, "WEBP", lossless=True), expected=rgb),
        "webp lossy": WildImage(data=encode(image, "WEBP", quality=95), expected=rgb, tolerance=6),
        "palette png": WildImage(data=encode(image.quantize(16), "PNG"), expected=rgb),
        "palette gif": WildImage(data=encode(image.quantize(16), "GIF"), expected=rgb),
    }
    if features.check("avif"):
        images["avif"] = WildImage(
            data=encode(image, "AVIF", quality=95, subsampling="4:4:4"), expected=rgb, tolerance=6
        )
    cmyk = Image.fromarray(np.dstack([255 - rgb, np.zeros_like(rgb[:, :, 0])]), "CMYK")
    note = "cmyk"
    images["cmyk jpeg"] = WildImage(data=encode(cmyk, "JPEG", quality=95), expected=rgb, tolerance=6, note=note)
    images["cmyk tiff"] = WildImage(data=encode(cmyk, "TIFF"), expected=rgb, note=note)
    return images


def _rotated() -> dict[str, WildImage]:
    """The picture stored turned and mirrored, with the tag that says how to turn it back, in every format that has
    one."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8:
        Image.Transpose.ROTATE_270,
    }  # fmt: skip
    kinds: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}
    if features.check("avif"):
        kinds["AVIF"] = {"quality": 95, "subsampling": "4:4:4"}
    rgb, images = picture(), {}
    for orientation, stored in undo.items():
        image = Image.fromarray(rgb).transpose(stored)
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = orientation
        for kind, options in kinds.items():
            data = encode(image, kind, exif=exif, **options)
            name = f"exif {orientation} {kind.lower()}"
            images[name] = WildImage(
                data=data, expected=rgb, tolerance=6 if kind in ("JPEG", "AVIF") else 0, note="exif"
            )
    return images


def _grey() -> dict[str, WildImage]:
    grey = grey_picture()
    expected = np.dstack([grey] * 3)
    image = Image.fromarray(grey)
    black_white = np.where(expected >= 128, 255, 0).astype(np.uint8)
    return {
        "grey png": WildImage(data=encode(image, "PNG"), expected=expected),
        "grey jpeg": WildImage(data=encode(image, "JPEG", quality=95), expected=expected, tolerance=3),
        "bilevel png": WildImage(data=encode(Image.fromarray(grey >= 128), "PNG"), expected=black_white),
        "bilevel tiff": WildImage(
            data=encode(Image.fromarray(grey >= 128), "TIFF", compression="group4"), expected=black_white
        ),
    }


def _deep() -> dict[str, WildImage]:
    grey = grey_picture()
    expected = np.dstack([grey] * 3)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    unit = Image.fromarray((grey / 255).astype(np.float32))
    wide = Image.fromarray(grey.astype(np.int32) * 1_000_000)
    rgb = picture()
    return {
        "16-bit grey png": WildImage(data=encode(deep, "PNG"), expected=expected, note="16-bit"),
        "16-bit grey tiff": WildImage(data=encode(deep, "TIFF"), expected=expected, note="16-bit"),
        "16-bit grey tiff deflate": WildImage(
            data=encode(deep, "TIFF", compression="tiff_deflate"), expected=expected, note="16-bit"
        ),
        "16-bit white-is-zero tiff": WildImage(
            data=encode(Image.fromarray(65535 - grey.astype(np.uint16) * 257), "TIFF", tiffinfo={262: 0}),
            expected=expected,
            note="16-bit",
        ),
        "16-bit colour png": WildImage(data=png_16bit_rgb(rgb), expected=rgb, note="16-bit"),
        "16-bit colour tiff": WildImage(data=tiff_16bit_rgb(rgb), expected=rgb, note="16-bit"),
        "float tiff": WildImage(data=encode(unit, "TIFF"), expected=expected, note="32-bit"),
        "32-bit integer tiff": WildImage(data=encode(wide, "TIFF"), expected=expected, note="32-bit"),
    }


def _transparent() -> dict[str, WildImage]:
    """The left half is transparent over black and must come out white."""
    rgb = picture()
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:, : WIDTH // 2] = 0
    hidden = np.where(alpha[:, :, None] == 0, 0, rgb).astype(np.uint8)
    expected = np.where(alpha[:, :, None] == 0, 255, rgb).astype(np.uint8)
    rgba = Image.fromarray(np.dstack([hidden, alpha]))
    grey = Image.fromarray(np.dstack([np.where(alpha == 0, 0, 90).astype(np.uint8), alpha]), "LA")
    grey_expected = np.dstack([np.where(alpha == 0, 255, 90).astype(np.uint8)] * 3)
    note = "alpha"
    return {
        "alpha png": WildImage(data=encode(rgba, "PNG"), expected=expected, note=note),
        "alpha webp": WildImage(data=encode(rgba, "WEBP", lossless=True), expected=expected, note=note),
        "alpha tiff": WildImage(data=encode(rgba, "TIFF"), expected=expected, note=note),
        "alpha grey png": WildImage(data=encode(grey, "PNG"), expected=grey_expected, note=note),
        "alpha palette png": WildImage(data=_palette_with_alpha(hidden, alpha, "PNG"), expected=expected, note=note),
        "alpha palette gif": WildImage(data=_palette_with_alpha(hidden, alpha, "GIF"), expected=expected, note=note),
        "opaque alpha png": WildImage(data=encode(Image.fromarray(rgb).convert("RGBA"), "PNG"), expected=rgb),
    }


def _palette_with_alpha(rgb: np.ndarray, alpha: np.ndarray, kind: str) -> bytes:
    image = Image.fromarray(rgb).quantize(8)
    indices = np.array(image)
    indices[alpha == 0] = 7
    palette = Image.fromarray(indices, "P")
    colours = image.getpalette("RGB") or []
    palette.putpalette(colours + [0] * (256 * 3 - len(colours)))
    return encode(palette, kind, transparency=7)


def _animated() -> dict[str, WildImage]:
    rgb = picture()
    first, later = (
        Image.fromarray(rgb),
        [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ((9, 9, 9), (250, 0, 250))],
    )
    many = {"save_all": True, "append_images": later}
    note = "animated"
    return {
        "animated gif": WildImage(data=encode(first.quantize(16), "GIF", **many), expected=rgb, note=note),
        "animated webp": WildImage(data=encode(first, "WEBP", lossless=True, **many), expected=rgb, note=note),
        "animated png": WildImage(data=encode(first, "PNG", **many), expected=rgb, note=note),
        "multi-page tiff": WildImage(data=encode(first, "TIFF", **many), expected=rgb, note="multi-page"),
    }


def _shapes() -> dict[str, WildImage]:
    images = {}
    for height, width in ((1, 1), (1, 2000), (2000, 1), (2, 3000)):
        rgb = np.full((height, width, 3), GREEN, np.uint8)
        images[f"{height}x{width} png"] = WildImage(data=encode(Image.fromarray(rgb), "PNG"), expected=rgb)
    return images
