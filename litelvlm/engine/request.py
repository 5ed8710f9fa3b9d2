"""What goes into the engine and what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from litelvlm.clip_encoder import ClipFeatures
from litelvlm.config import PromptTemplate
from litelvlm.preprocess import PreparedImage
from litelvlm.run_lengths import mask_from_run_lengths


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedImage:
    """What both image encoders make of an image, on the model's device: asked again, it costs no encoder.

    Attributes:
        prepared: the image.
        features: CLIP's, of one image.
        embedding: SAM's, 1xCxGxG.
    """

    prepared: PreparedImage
    features: ClipFeatures
    embedding: Tensor


@dataclass(frozen=True, kw_only=True)
class AnnotationRequest:
    """An image and the phrases asked of it.

    Attributes:
        image: HxWx3 uint8 RGB, upright; or the same already prepared by the model's `Preprocessor`, or encoded by
            `Annotator.encode`.
        phrases: referring expressions, each answered by one mask.
        templates: a template for each phrase, in place of the call's.
    """

    image: np.ndarray | PreparedImage | EncodedImage
    phrases: list[str]
    templates: Sequence[PromptTemplate] | None = None


@dataclass(frozen=True, kw_only=True)
class AnnotationResult:
    """The answer to a request with P phrases on an HxW image.

    Attributes:
        scores: P float32 in [0, 1], the confidence of each mask (see `litelvlm.scores`).
        predicted_iou: P float32, the mask decoder's own prediction.
        run_lengths: P int64 arrays, the masks as COCO counts them: alternating lengths, of zeros first, down columns.
        low_res_logits: PxLxL float32; None unless it was asked for.
        mask_prompts: PxC float32.
        retained: P int64 arrays: patch indices of the visual tokens kept, in the order given to the language model; one
            shared array for phrases that were asked together.
        num_visual_tokens: V, the visual tokens before pruning.
        num_retained_tokens: R, the visual tokens kept in each prompt.
        num_prompts: how many prompts were run.
        num_text_tokens: text tokens of all prompts together.
        size_hw: H and W.
        seg_probability: P float32, how likely the language model took `[SEG]` to be where it stands; None unless asked.
        clip_similarity: P float32, cosine of CLIP's embeddings of phrase and of what the mask shows, NaN where it is
            empty; None unless asked.
        absent_probability: P float32, how likely the language model took the token that rejects to be in the place of
            `[SEG]`; None where the model has no such token.
        absent: P bool, whether that token is the likeliest: there is no such object, whatever the mask; None as above.
    """

    scores: np.ndarray
    predicted_iou: np.ndarray
    run_lengths: list[np.ndarray]
    low_res_logits: np.ndarray | None
    mask_prompts: np.ndarray
    retained: list[np.ndarray]
    num_visual_tokens: int
    num_retained_tokens: int
    num_prompts: int
    num_text_tokens: int
    size_hw: tuple[int, int]
    seg_probability: np.ndarray | None = None
    clip_similarity: np.ndarray | None = None
    absent_probability: np.ndarray | None = None
    absent: np.ndarray | None = None

    @property
    def num_phrases(self) -> int:
        return len(self.scores)

    @cached_property
    def masks(self) -> np.ndarray:
        """PxHxW bool, upright, at the original size. Made when first read; `iter_masks` needs less memory."""
        height, width = self.size_hw
        return np.stack(list(self.iter_masks())) if self.num_phrases else np.zeros((0, height, width), dtype=bool)

    def iter_masks(self) -> Iterator[np.ndarray]:
        """Yields each phrase's mask, HxW bool."""
        return (mask_from_run_lengths(run_lengths, self.size_hw) for run_lengths in self.run_lengths)
