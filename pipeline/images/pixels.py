"""Any pixel layout that Pillow decodes to 8-bit RGB, without turning 16-bit images white or transparent ones black."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_PHOTOMETRIC, _BITS_PER_SAMPLE, _PLANES, _SAMPLE_FORMAT = 262, 258, 284, 339  # TIFF tags
_SIGNED, _SEPARATE, _YCBCR = 2, 2, 6
_BAND_ROWS = 256
_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
_PLAIN_MODES = ("1", "L", "P", "RGBX", "CMYK", "YCbCr", "HSV")


class UnsupportedPixels(ValueError):
    """A pixel layout with no defined way to RGB."""


def check_samples(image: Image.Image) -> None:
    """Raises UnsupportedPixels for samples of a TIFF that Pillow takes for others: the picture would be wrong."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return
    if tags.get(_PHOTOMETRIC) == _YCBCR and image.mode == "RGB" and getattr(image, "_compression", "") == "raw":
        raise UnsupportedPixels("YCbCr with fewer colours than pixels, without compression")
    bits = [int(value) for value in tags.get(_BITS_PER_SAMPLE, (1,))]
    formats = {int(value) for value in tags.get(_SAMPLE_FORMAT, (1,))}
    if tags.get(_PLANES, 1) == _SEPARATE and len(bits) > 1 and max(bits) > 8:
        raise UnsupportedPixels(f"channels of {max(bits)} bits, one after the other")
    if _SIGNED in formats and min(bits) <= 8:
        raise UnsupportedPixels("signed samples of 8 bits")
    if _SIGNED in formats and len(bits) > 1:
        raise UnsupportedPixels(f"signed colours of {max(bits)} bits")


def to_rgb(image: Image.Image, raw_modes: list[str]) -> tuple[Image.Image, list[str]]:
    """An RGB image of the same size, and notes on what was done.

    `raw_modes` are the decoder's layout names, the only trace that Pillow leaves of a 16-bit colour image, whose low
    bytes it drops itself. Raises UnsupportedPixels for a layout with no defined conversion (CIELAB).
    """
    notes = []
    if any(";16" in raw for raw in raw_modes) and not image.mode.startswith("I"):
        notes.append("16-bit: rescaled to 8")
    if image.mode.startswith("I") or image.mode == "F":
        levels, note = _rescale(image)
        return Image.fromarray(levels).convert("RGB"), [note]
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return _on_white(image, notes)
    if image.mode == "RGB":
        return image, notes
    if image.mode not in _PLAIN_MODES:
        raise UnsupportedPixels(f"pixel layout {image.mode}")
    if image.mode == "CMYK":
        notes.append("cmyk: converted without a colour profile")
    return image.convert("RGB"), notes


def _on_white(image: Image.Image, notes: list[str]) -> tuple[Image.Image, list[str]]:
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = rgba.getchannel("A")
    rgb = rgba.convert("RGB")
    low, high = alpha.getextrema()
    if low == 255:
        return rgb, notes
    if high == 0 and image.format == "BMP":  # whoever wrote it left the fourth byte alone
        return rgb, [*notes, "alpha: 0 everywhere, not looked at"]
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgb, mask=alpha)
    return white, [*notes, "alpha: composited on white"]


def _rescale(image: Image.Image) -> tuple[NDArray[np.uint8], str]:
    """8-bit grey levels (H, W) from a mode with more than 8 bits a pixel.

    Whole numbers with a declared depth keep their meaning: 0 to black, the depth's largest to white. 32-bit and
    floating-point pixels declare no white, so they are read as 0 to 1 or 0 to 65535 when they fit, else stretched from
    least to largest.
    """
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        tags = getattr(image, "tag_v2", {})
        bits = min(int(tags.get(_BITS_PER_SAMPLE, (16,))[0]), 16)
        # White is zero: Pillow turns 8-bit images round, these it leaves.
        table = _level_table(2**bits - 1, is_inverted=tags.get(_PHOTOMETRIC) == 0)
        return table[values], f"{bits}-bit: rescaled to 8"
    finite = np.isfinite(values)
    low, high = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
    if low >= 0 and image.mode == "F" and high <= 1:
        low, high, how = 0.0, 1.0, "0 to 1"
    elif low >= 0 and image.mode == "I" and high <= 65535:
        low, high, how = 0.0, 65535.0, "16 bits"
    else:
        how = "least to largest"
    return _stretch(values, low, high), f"32-bit: rescaled to 8 ({how})"


def _level_table(white: int, *, is_inverted: bool) -> NDArray[np.uint8]:
    """The 8-bit level of each of the 65,536 values; those above `white` are white."""
    values = np.minimum(np.arange(2**16), white)
    return np.rint((white - values if is_inverted else values) * (255.0 / white)).astype(np.uint8)


def _stretch(values: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    """Levels of `values` between `low` (black) and `high` (white), a band of rows at a time to save memory."""
    levels = np.empty(values.shape, np.uint8)
    spread = (high - low) or 1.0
    for top in range(0, values.shape[0], _BAND_ROWS):
        band = values[top : top + _BAND_ROWS].astype(np.float64)
        band = (np.where(np.isfinite(band), band, low) - low) * (255.0 / spread)
        levels[top : top + _BAND_ROWS] = np.clip(np.rint(band), 0, 255)
    return levels
