"""Image bytes from anywhere to an upright RGB array, or a short reason why not.

The bytes are untrusted. Only the formats listed in `_READERS` are ever handed to a decoder, the declared size is
checked before any pixel is decoded, and whatever goes wrong inside a decoder ends as an `ImageError`.
"""

import contextlib
import ctypes
import logging
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
    features,
)

from litelvlm.pipeline.images.bombs import find_bomb
from litelvlm.pipeline.images.pixels import UnsupportedPixels, check_samples, to_rgb
from litelvlm.pipeline.images.repair import jpeg_endings, png_without_metadata
from litelvlm.pipeline.images.sniff import sniff_format
from litelvlm.pipeline.images.tags import TagError, TiffFile, meter_directories

MAX_PIXELS = 100_000_000
MAX_BYTES = 256 * 2**20

# Plugin classes instead of Image.open: no other decoder can be reached, and Pillow's own limit (which warns) stays
# out of it.
_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffFile,
}
if features.check("avif"):
    from PIL import AvifImagePlugin

    _READERS["avif"] = AvifImagePlugin.AvifImageFile

FORMATS = tuple(_READERS)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED = (5, 6, 7, 8)  # orientations that swap height and width
_TILE_TAGS = (322, 323)  # TIFF TileWidth, TileLength


def _silence_decoders() -> None:
    """Keep odd files in a run over millions off stderr: Pillow's warnings and log lines, and what libtiff prints by
    itself.

    Done once, at import: swapping warning filters around each call is not thread-safe, and libtiff's handler is global.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with contextlib.suppress(OSError, AttributeError):  # a build of Pillow without libtiff
        pillow = ctypes.CDLL(Image.core.__file__)  # type: ignore[attr-defined]
        pillow.TIFFSetErrorHandler(None)
        pillow.TIFFSetWarningHandler(None)


_silence_decoders()
meter_directories()


NeededSize = Callable[[tuple[int, int]], tuple[int, int] | None]


class ImageError(ValueError):
    """Why bytes are not a usable image: a stable code, a colon, then words. One line, no control characters."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        super().__init__(f"{code}: {_one_line(detail)}")


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedImage:
    """`rgb` is (h, w, 3) uint8, upright. `notes` say what was done to get there, e.g. "animated: first frame".

    `size_hw` are the image's own upright height and width in pixels, those of `rgb` unless it was decoded smaller.
    """

    rgb: NDArray[np.uint8]
    size_hw: tuple[int, int]
    notes: tuple[str, ...] = ()


def decode_image(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    needed_size: NeededSize | None = None,
    keep_truncated: bool = False,
) -> DecodedImage:
    """Decode JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF bytes.

    Orientation tags are applied. Alpha is composited on white, 16 bits and more a channel are rescaled to 8, CMYK is
    converted without its colour profile, of an animation the first frame is taken. `needed_size` says, for an image's
    height and width, which ones are enough, or None for all: a JPEG is then decoded at a half, a quarter or an eighth
    (its cosines are cut off), where that is not below what is needed. A JPEG that lacks its end marker alone, and a PNG
    whose metadata cannot be read, are decoded and noted; with `keep_truncated` also a JPEG that ends anywhere after its
    first pixels, the rest of which is grey. Raises ImageError with a reason that depends on the bytes alone.
    """
    if not data:
        raise ImageError("empty", "no bytes")
    if len(data) > max_bytes:
        raise ImageError("too_many_bytes", f"{len(data)} bytes, the limit is {max_bytes}")
    kind, description = sniff_format(data)
    if kind not in _READERS:
        raise ImageError(kind, description)
    if (bomb := find_bomb(kind, data, max_pixels)) is not None:
        raise ImageError(*bomb)
    # Other libraries switch this on for the whole process; half an image must fail here, not come out grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        return _read(kind, data, max_pixels, needed_size)
    except ImageError as error:
        repaired = _repaired(kind, data, error, max_pixels, needed_size, keep_truncated)
        if repaired is None:
            raise
        return repaired


def _read(kind: str, data: bytes, max_pixels: int, needed_size: NeededSize | None) -> DecodedImage:
    try:
        with _READERS[kind](BytesIO(data)) as image:
            _check_size(image, max_pixels)
            return _decode(image, max_pixels, needed_size)
    except ImageError:
        raise
    except TagError as error:
        raise ImageError("bomb", f"{kind}: {error}") from None
    except UnsupportedPixels as error:
        raise ImageError("unsupported_pixels", f"{kind}: {error}") from None
    except Exception as error:  # noqa: BLE001 - record boundary: on hostile bytes decoders raise anything
        raise _decoder_error(kind, error) from None


def _repaired(
    kind: str,
    data: bytes,
    error: ImageError,
    max_pixels: int,
    needed_size: NeededSize | None,
    keep_truncated: bool,
) -> DecodedImage | None:
    """What a damaged file still is; None where that is no picture."""
    with contextlib.suppress(ImageError):
        if kind == "png" and error.code in ("undecodable", "bomb"):
            plain = png_without_metadata(data)
            if len(plain) < len(data):
                found = _read(kind, plain, max_pixels, needed_size)
                return replace(found, notes=(*found.notes, "png: its metadata cannot be read and is left out"))
        if kind == "jpeg" and error.code == "truncated":
            one, other = (_read(kind, ending, max_pixels, needed_size) for ending in jpeg_endings(data))
            if np.array_equal(one.rgb, other.rgb):
                return replace(one, notes=(*one.notes, "jpeg: its end marker is missing, no pixel is"))
            if keep_truncated:
                return replace(one, notes=(*one.notes, "jpeg: truncated, what is missing is grey"))
    return None


def _decode(image: ImageFile.ImageFile, max_pixels: int, needed_size: NeededSize | None) -> DecodedImage:
    notes = []
    width, height = image.size
    needed = needed_size((height, width)) if needed_size and image.format == "JPEG" else None
    if needed:
        image.draft(None, (needed[1], needed[0]))
    if getattr(image, "is_animated", False):
        notes.append("multi-page: first page" if image.format == "TIFF" else "animated: first frame")
    raw_modes = [str(tile.args) for tile in image.tile]
    # A TIFF is turned, and its tag removed, while it is loaded; a PNG may carry its tag behind the pixels.
    turned = image.format == "TIFF" and _orientation(image) in _UPRIGHT
    check_samples(image)
    image.load()
    _check_size(image, max_pixels)
    orientation = _orientation(image)
    rgb_image, pixel_notes = to_rgb(image, raw_modes)
    if orientation in _UPRIGHT:
        rgb_image = rgb_image.transpose(_UPRIGHT[orientation])
    if turned or orientation in _UPRIGHT:
        notes.append("exif: turned upright")
    if not needed:  # what is loaded may differ from what the header said
        width, height = image.size
    size_hw = (width, height) if orientation in _TURNED else (height, width)
    return DecodedImage(rgb=np.array(rgb_image), size_hw=size_hw, notes=(*notes, *pixel_notes))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 when there is none or the metadata is damaged, which must not cost the image."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - record boundary, as in decode_image
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError("no_pixels", f"declared size {width}x{height}")
    if width * height > max_pixels:
        raise ImageError("too_many_pixels", f"declared size {width}x{height}, the limit is {max_pixels} pixels")
    tags = getattr(image, "tag_v2", None)
    if tags is not None and all(tag in tags for tag in _TILE_TAGS):
        # One tile is decoded as a whole, however small the image that it is cut to.
        tile_width, tile_height = (int(tags[tag]) for tag in _TILE_TAGS)
        if tile_width * tile_height > max(max_pixels, 1):
            raise ImageError(
                "too_many_pixels", f"declared tile {tile_width}x{tile_height}, the limit is {max_pixels} pixels"
            )


def _decoder_error(kind: str, error: Exception) -> ImageError:
    detail = str(error)
    if isinstance(error, EOFError) or re.search(
        r"truncat|unexpected end|not enough|broken data stream", detail, re.IGNORECASE
    ):
        return ImageError("truncated", f"{kind}: {detail or 'the data ends early'}")
    if isinstance(error, MemoryError):
        return ImageError("undecodable", f"{kind}: asks for more memory than there is")
    return ImageError("undecodable", f"{kind}: {detail or type(error).__name__}")


def _one_line(text: str) -> str:
    """Printable, at most 200 characters, without memory addresses, so that the same bytes always give the same
    reason."""
    text = re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>", "data", text)
    return "".join(char if char.isprintable() else " " for char in text)[:200].strip()
