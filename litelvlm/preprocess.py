"""From an RGB image to the uint8 pixels that both image encoders read. Imports no torch: decode workers start quickly.

Resizing happens on uint8 with Pillow, as in the release, so that pixels are equal to the release's to the last bit.
Only the resized uint8 pixels travel between processes; normalising and padding happen on the model's device, in
`litelvlm.pixels`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from litelvlm.config import GlammConfig, PromptTemplate
from litelvlm.prompts import check_phrase
from litelvlm.tokenizer import GlammTokenizer


@dataclass(frozen=True, kw_only=True)
class PreparedImage:
    """An image as the model reads it.

    Attributes:
        clip_pixels: SxSx3 uint8, shortest side resized to S and centre-cropped.
        sam_pixels: hxwx3 uint8, longest side resized to the grounding encoder's input size, not padded.
        original_size_hw: height and width of the upright original, to which masks are resized.
    """

    clip_pixels: np.ndarray
    sam_pixels: np.ndarray
    original_size_hw: tuple[int, int]

    @property
    def content_seed(self) -> int:
        """A number that depends on the pixels alone; it seeds the random pruning rule."""
        return zlib.crc32(self.clip_pixels.tobytes())


class Preprocessor:
    """Prepares images and checks phrases for a model, without its weights. Cheap to build and to pickle.

    Args:
        config: the model's configuration.
        tokenizer_dir: directory of its tokeniser.
    """

    def __init__(self, config: GlammConfig, tokenizer_dir: str | Path) -> None:
        self.config = config
        self._tokenizer_dir = Path(tokenizer_dir)
        self.tokenizer = GlammTokenizer(tokenizer_dir)

    @classmethod
    def from_pretrained(cls, model: str | Path, clip: str | Path | None = None) -> Preprocessor:
        """Reads a checkpoint's configuration and tokeniser; see `litelvlm.checkpoint.open_checkpoint` for arguments."""
        from litelvlm.checkpoint import open_checkpoint

        checkpoint = open_checkpoint(model, clip)
        return cls(checkpoint.config, checkpoint.directory)

    def __reduce__(self) -> tuple:
        return Preprocessor, (self.config, self._tokenizer_dir)

    def prepare(self, image: np.ndarray) -> PreparedImage:
        """Resizes an image for both encoders.

        Args:
            image: HxWx3 uint8 RGB, upright.

        Raises:
            ValueError: if the image has another shape or dtype.
        """
        check_rgb(image)
        height, width = image.shape[:2]
        sam_size_hw = sam_input_size((height, width), self.config.sam.image_size)
        return PreparedImage(
            clip_pixels=clip_resize(image, self.config.clip.image_size),
            sam_pixels=resize_uint8(image, sam_size_hw, Image.Resampling.BILINEAR),
            original_size_hw=(height, width),
        )

    def check_phrase(self, phrase: str, template: PromptTemplate | None = None) -> str:
        """The phrase as the model is asked it: lower-cased and stripped.

        Raises:
            ValueError: with a reason a person can read, if it is empty or too long.
        """
        return check_phrase(phrase, template or PromptTemplate(), self.tokenizer)


def check_rgb(image: np.ndarray) -> None:
    """Raises a ValueError unless `image` is HxWx3 uint8 with at least one pixel."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        shape = getattr(image, "shape", None)
        raise ValueError(f"image: must be an HxWx3 uint8 array of RGB, not {type(image).__name__} of shape {shape}")
    if 0 in image.shape:
        raise ValueError(f"image: has no pixels (shape {image.shape})")


def sam_input_size(size_hw: tuple[int, int], target: int) -> tuple[int, int]:
    """Height and width after the longest side is resized to `target` (SAM's `ResizeLongestSide`)."""
    scale = target / max(size_hw)
    height, width = (max(1, int(side * scale + 0.5)) for side in size_hw)
    return height, width


def clip_resize(image: np.ndarray, target: int) -> np.ndarray:
    """CLIP's preprocessing up to normalisation: shortest side to `target` (bicubic), then the central square.

    Only the band that the crop keeps is resized, so that an extreme aspect ratio costs no memory.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    size_hw = (target, int(target * width / short)) if height <= width else (int(target * height / short), target)
    if max(size_hw) > 8 * target:
        image, size_hw = _central_band(image, size_hw, target)
    resized = resize_uint8(image, size_hw, Image.Resampling.BICUBIC)
    top, left = (size_hw[0] - target) // 2, (size_hw[1] - target) // 2
    return np.ascontiguousarray(resized[top : top + target, left : left + target])


def _central_band(image: np.ndarray, size_hw: tuple[int, int], target: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The central 4:1 part of an image more elongated than that, and the size to which to resize it."""
    axis = int(size_hw[1] > size_hw[0])
    short = image.shape[1 - axis]
    length = min(image.shape[axis], 4 * short)
    start = (image.shape[axis] - length) // 2
    band = image[start : start + length] if axis == 0 else image[:, start : start + length]
    resized = max(target, int(target * length / short))
    return band, (resized, target) if axis == 0 else (target, resized)


def resize_uint8(image: np.ndarray, size_hw: tuple[int, int], resample: Image.Resampling) -> np.ndarray:
    """Antialiased resize of an HxWx3 uint8 image."""
    if image.shape[:2] == size_hw:
        return np.ascontiguousarray(image)
    resized = Image.fromarray(np.ascontiguousarray(image)).resize(size_hw[::-1], resample)
    return np.array(resized)
