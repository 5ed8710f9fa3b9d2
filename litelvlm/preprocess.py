"""From an RGB image to the uint8 pixels that both image encoders read.

Resizing happens on uint8, in one of two ways:

* `exact`: with Pillow, as in the release, so that pixels are equal to the release's to the last bit. Imports no torch,
  so that decode workers start quickly.
* `fast`: with torch's vectorised kernels, which round weights more coarsely: a few pixels in a thousand differ, by a
  level, bicubic ones rarely by two. Whoever decodes for it may leave out resolution that is not needed
  (`Preprocessor.needed_size`).

Only the resized uint8 pixels travel between processes; normalising and padding happen on the model's device, in
`litelvlm.pixels`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from litelvlm.config import RESIZING, GlammConfig, PromptTemplate
from litelvlm.prompts import check_phrase
from litelvlm.tokenizer import GlammTokenizer

Crop = tuple[int, int, int, int]  # top, left, height, width
Resize = Callable[..., np.ndarray]


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
        resizing: "exact" or "fast".
    """

    def __init__(self, config: GlammConfig, tokenizer_dir: str | Path, resizing: str = "exact") -> None:
        if resizing not in RESIZING:
            raise ValueError(f"resizing: {resizing!r} is not known; choose one of {', '.join(RESIZING)}")
        self.config = config
        self.resizing = resizing
        self._tokenizer_dir = Path(tokenizer_dir)
        self.tokenizer = GlammTokenizer(tokenizer_dir, config.description)

    @classmethod
    def from_pretrained(
        cls, model: str | Path, clip: str | Path | None = None, resizing: str = "exact"
    ) -> Preprocessor:
        """Reads a checkpoint's configuration and tokeniser; see `litelvlm.checkpoint.open_checkpoint` for arguments."""
        from litelvlm.checkpoint import open_checkpoint

        checkpoint = open_checkpoint(model, clip)
        return cls(checkpoint.config, checkpoint.directory, resizing)

    def __reduce__(self) -> tuple[Any, ...]:
        return Preprocessor, (self.config, self._tokenizer_dir, self.resizing)

    def needed_size(self, size_hw: tuple[int, int]) -> tuple[int, int] | None:
        """The least size to which an image of this one may be decoded; None where resizing is exact: all of it."""
        if self.resizing == "exact":
            return None
        sizes = (sam_input_size(size_hw, self.config.sam.image_size), clip_size(size_hw, self.config.clip.image_size))
        height, width = (max(side) for side in zip(*sizes, strict=True))
        return height, width

    def prepare(self, image: np.ndarray, original_size_hw: tuple[int, int] | None = None) -> PreparedImage:
        """Resizes an image for both encoders.

        Args:
            image: HxWx3 uint8 RGB, upright.
            original_size_hw: size of the image that this one is a smaller decoding of; its own by default.

        Raises:
            ValueError: if the image has another shape or dtype.
        """
        check_rgb(image)
        size_hw = original_size_hw or (image.shape[0], image.shape[1])
        sam_size_hw = sam_input_size(size_hw, self.config.sam.image_size)
        resize = resize_exactly if self.resizing == "exact" else resize_fast
        return PreparedImage(
            clip_pixels=clip_resize(image, self.config.clip.image_size, resize),
            sam_pixels=resize(image, sam_size_hw, Image.Resampling.BILINEAR),
            original_size_hw=size_hw,
        )

    def check_phrase(self, phrase: str, template: PromptTemplate | None = None) -> str:
        """The phrase as the model is asked it: stripped and, unless the template says otherwise, lower-cased. Without a
        template it is the model's own.

        Raises:
            ValueError: with a reason a person can read, if it is empty or too long.
        """
        return check_phrase(phrase, template or self.config.template, self.tokenizer)


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


def clip_size(size_hw: tuple[int, int], target: int) -> tuple[int, int]:
    """Height and width after the shortest side is resized to `target` (CLIP's preprocessing, before the crop)."""
    height, width = size_hw
    short = min(size_hw)
    return (target, int(target * width / short)) if height <= width else (int(target * height / short), target)


def clip_resize(image: np.ndarray, target: int, resize: Resize) -> np.ndarray:
    """CLIP's preprocessing up to normalisation: shortest side to `target` (bicubic), then the central square.

    Only what the crop keeps is computed, so that an extreme aspect ratio costs no memory.
    """
    height, width = image.shape[:2]
    size_hw = clip_size((height, width), target)
    if max(size_hw) > 8 * target:
        image, size_hw = _central_band(image, size_hw, target)
    top, left = (size_hw[0] - target) // 2, (size_hw[1] - target) // 2
    return resize(image, size_hw, Image.Resampling.BICUBIC, (top, left, target, target))


def _central_band(image: np.ndarray, size_hw: tuple[int, int], target: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The central 4:1 part of an image more elongated than that, and the size to which to resize it."""
    axis = int(size_hw[1] > size_hw[0])
    short = image.shape[1 - axis]
    length = min(image.shape[axis], 4 * short)
    start = (image.shape[axis] - length) // 2
    band = image[start : start + length] if axis == 0 else image[:, start : start + length]
    resized = max(target, int(target * length / short))
    return band, (resized, target) if axis == 0 else (target, resized)


def resize_exactly(
    image: np.ndarray, size_hw: tuple[int, int], resample: Image.Resampling, crop_tlhw: Crop | None = None
) -> np.ndarray:
    """Pillow's antialiased resize of an HxWx3 uint8 image; of the result only the crop."""
    height, width = image.shape[:2]
    top, left, crop_height, crop_width = crop_tlhw or (0, 0, *size_hw)
    if (height, width) == size_hw:
        return np.ascontiguousarray(image[top : top + crop_height, left : left + crop_width])
    whole = Image.fromarray(np.ascontiguousarray(image))
    edges = (left * width, top * height, (left + crop_width) * width, (top + crop_height) * height)
    sides = (size_hw[1], size_hw[0]) * 2
    if any(edge % side for edge, side in zip(edges, sides, strict=True)):  # Pillow would round the box to float32
        resized = whole.resize(size_hw[::-1], resample)
        return np.array(resized.crop((left, top, left + crop_width, top + crop_height)))
    box = (edges[0] // sides[0], edges[1] // sides[1], edges[2] // sides[2], edges[3] // sides[3])
    return np.array(whole.resize((crop_width, crop_height), resample, box=box))


def resize_fast(
    image: np.ndarray, size_hw: tuple[int, int], resample: Image.Resampling, crop_tlhw: Crop | None = None
) -> np.ndarray:
    """The same with torch's kernels for uint8."""
    import torch
    from torch.nn.functional import interpolate

    top, left, crop_height, crop_width = crop_tlhw or (0, 0, *size_hw)
    if image.shape[:2] != size_hw:
        pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).unsqueeze(0)
        mode = "bicubic" if resample == Image.Resampling.BICUBIC else "bilinear"
        # A batch whose strides say that channels come last stays so, and is resized without being taken apart.
        image = interpolate(pixels.permute(0, 3, 1, 2), size_hw, mode=mode, antialias=True)[0].permute(1, 2, 0).numpy()
    return np.ascontiguousarray(image[top : top + crop_height, left : left + crop_width])
