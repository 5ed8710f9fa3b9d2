"""From an RGB image to SAM 3's pixels, and from phrases to its token ids; as transformers' `Sam3Processor` does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from litelvlm.preprocess import check_rgb, resize_fast
from litelvlm.prompts import normalize_phrase
from litelvlm.sam3.checkpoint import Sam3Checkpoint, open_sam3


@dataclass(frozen=True, kw_only=True)
class Sam3Image:
    """An image as the model reads it.

    Attributes:
        pixels: SxSx3 uint8, resized to the square whatever the aspect ratio.
        original_size_hw: height and width of the upright original, which masks have.
    """

    pixels: NDArray[np.uint8]
    original_size_hw: tuple[int, int]


class Sam3Preprocessor:
    """Prepares images and checks phrases, without the weights.

    Args:
        directory: of the checkpoint.
        resizing: "exact": the processor's pixels; "fast": a JPEG is decoded no larger than the model needs.
    """

    def __init__(self, directory: Path, resizing: str = "exact") -> None:
        self.checkpoint: Sam3Checkpoint = open_sam3(directory)
        self._decodes_less = resizing == "fast"
        self._tokenizer = _load_tokenizer(directory)

    @property
    def num_visual_tokens(self) -> int:
        return self.checkpoint.num_visual_tokens

    def needed_size(self, size_hw: tuple[int, int]) -> tuple[int, int] | None:
        """The least size to which an image may be decoded; None where resizing is exact: all of it."""
        side = self.checkpoint.image_size
        return (side, side) if self._decodes_less else None

    def prepare(self, image: np.ndarray, original_size_hw: tuple[int, int] | None = None) -> Sam3Image:
        """Resizes an HxWx3 uint8 RGB image. Raises ValueError for another shape or dtype."""
        check_rgb(image)
        side = self.checkpoint.image_size
        return Sam3Image(
            pixels=resize_fast(image, (side, side), Image.Resampling.BILINEAR),  # torchvision's, bit for bit
            original_size_hw=original_size_hw or (image.shape[0], image.shape[1]),
        )

    def check_phrase(self, phrase: str, *, lower_case: bool = True) -> str:
        """The phrase as it is asked. Raises ValueError where it is no text, empty or too long."""
        normalized = normalize_phrase(phrase, lower_case=lower_case)
        num_tokens = len(self._tokenizer(normalized)["input_ids"])
        most = self.checkpoint.text_tokens
        if num_tokens > most:
            raise ValueError(f"phrase has {num_tokens} tokens with its start and end; SAM 3 takes {most}")
        return normalized

    def tokenize(self, phrases: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and attention mask of checked phrases, both PxT int64, padded to the processor's length."""
        found = self._tokenizer(list(phrases), padding="max_length", max_length=self.checkpoint.text_tokens)
        return np.asarray(found["input_ids"], np.int64), np.asarray(found["attention_mask"], np.int64)

    @property
    def vocab_size(self) -> int:
        """Ids that the tokeniser may give are below this."""
        return len(self._tokenizer)


def _load_tokenizer(directory: Path) -> Any:
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(directory, local_files_only=True)
    except Exception as error:  # the tokenizers library raises Exception itself
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"model: the tokeniser in {directory} cannot be read: {reason}") from error
