"""What goes into the engine and what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from litelvlm.grounding_encoder import upsample_logits
from litelvlm.preprocess import PreparedImage

_PIXELS_AT_ONCE = 4_000_000


@dataclass(frozen=True, kw_only=True)
class AnnotationRequest:
    """An image and the phrases asked of it.

    Attributes:
        image: HxWx3 uint8 RGB, upright; or the same already prepared by the model's `Preprocessor`.
        phrases: referring expressions, each answered by one mask.
    """

    image: np.ndarray | PreparedImage
    phrases: list[str]


@dataclass(frozen=True, kw_only=True)
class AnnotationResult:
    """The answer to a request with P phrases on an HxW image.

    Attributes:
        scores: P float32 in [0, 1], the confidence of each mask (see `litelvlm.scores`).
        predicted_iou: P float32, the mask decoder's own prediction.
        low_res_logits: PxLxL float32.
        mask_prompts: PxC float32.
        retained: P int64 arrays: patch indices of the visual tokens kept, in the order given to the language model; one
            shared array for phrases that were asked together.
        num_visual_tokens: V, the visual tokens before pruning.
        num_retained_tokens: R, the visual tokens kept in each prompt.
        num_prompts: how many prompts were run.
        num_text_tokens: text tokens of all prompts together.
        size_hw: H and W.
    """

    scores: np.ndarray
    predicted_iou: np.ndarray
    low_res_logits: np.ndarray
    mask_prompts: np.ndarray
    retained: list[np.ndarray]
    num_visual_tokens: int
    num_retained_tokens: int
    num_prompts: int
    num_text_tokens: int
    size_hw: tuple[int, int]
    input_size_hw: tuple[int, int]
    input_size: int
    device: torch.device

    @property
    def num_phrases(self) -> int:
        return len(self.scores)

    @cached_property
    def masks(self) -> np.ndarray:
        """PxHxW bool, upright, at the original size. Computed when first read; `iter_masks` needs less memory."""
        height, width = self.size_hw
        return np.stack(list(self.iter_masks())) if self.num_phrases else np.zeros((0, height, width), dtype=bool)

    def iter_masks(self) -> Iterator[np.ndarray]:
        """Yields each phrase's mask, HxW bool, holding only a few at a time."""
        step = max(1, _PIXELS_AT_ONCE // (self.size_hw[0] * self.size_hw[1]))
        for start in range(0, self.num_phrases, step):
            low_res = torch.from_numpy(self.low_res_logits[start : start + step]).to(self.device)
            logits = upsample_logits(
                low_res, input_size_hw=self.input_size_hw, size_hw=self.size_hw, target=self.input_size
            )
            yield from (logits > 0).cpu().numpy()
