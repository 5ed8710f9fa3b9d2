"""How similar CLIP finds an image's patches to texts, as the pruning rules that look at text see it.

Only the CLIP towers of a checkpoint are loaded: no language model, no SAM.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from litelvlm.checkpoint import Checkpoint, open_towers
from litelvlm.clip_encoder import ClipEncoder
from litelvlm.clip_tokenizer import cut_texts, load_clip_tokenizer
from litelvlm.engine.device import resolve_device, resolve_dtype
from litelvlm.loading import load_clip
from litelvlm.pixels import normalize_clip
from litelvlm.rules.evidence import similarity_scores

_TEXT_BATCH = 32


class Similarity(NamedTuple):
    """Of P texts and the V patches of an image.

    Attributes:
        product: PxV float32, what the rules compare: the product of embeddings, neither of them normalised.
        cosine: PxV float32, the cosine of the same two.
    """

    product: NDArray[np.float32]
    cosine: NDArray[np.float32]


class PatchSimilarity:
    """The CLIP towers of a checkpoint, ready to compare. Build it with `from_pretrained`."""

    def __init__(self, checkpoint: Checkpoint, encoder: ClipEncoder) -> None:
        self.checkpoint = checkpoint
        self._encoder = encoder
        self._tokenizer = load_clip_tokenizer(checkpoint.clip_merges, checkpoint.config.clip.context_length)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        clip: str | Path | None = None,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "float32",
    ) -> PatchSimilarity:
        """Loads the towers. Arguments and errors are those of `Annotator.from_pretrained`, but that `clip` also stands
        in for the towers of a converted checkpoint."""
        checkpoint = open_towers(model, clip)
        return cls(checkpoint, load_clip(checkpoint, resolve_device(device), resolve_dtype(dtype)))

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray], texts: Sequence[Sequence[str]]) -> list[Similarity]:
        """Compares B images with their own texts.

        Args:
            images: B of SxSx3 uint8, as `PreparedImage.clip_pixels`.
            texts: for each image its texts, as CLIP reads them.
        """
        if not images:
            return []
        place = self._encoder.clip.positional_embedding
        pixels = normalize_clip(list(images), place.device, place.dtype)
        visual = self._encoder.encode_images(pixels).embedded
        read = self._embed([text for own in texts for text in own])
        found = []
        for seen, own in zip(visual, texts, strict=True):
            embedded = torch.stack([read[text] for text in own]) if own else seen.new_zeros((0, seen.shape[-1]))
            found.append(
                Similarity(_compare(seen, embedded), _compare(*(F.normalize(x, dim=-1) for x in (seen, embedded))))
            )
        return found

    def _embed(self, texts: Sequence[str]) -> dict[str, Tensor]:
        unique = list(dict.fromkeys(texts))
        embeddings: dict[str, Tensor] = {}
        for start in range(0, len(unique), _TEXT_BATCH):
            part = unique[start : start + _TEXT_BATCH]
            tokens = cut_texts(self._tokenizer(part)).to(self._encoder.clip.positional_embedding.device)
            embeddings.update(zip(part, self._encoder.encode_texts(tokens), strict=True))
        return embeddings


def _compare(visual_VE: Tensor, text_PE: Tensor) -> NDArray[np.float32]:
    return similarity_scores(visual_VE[None], text_PE[None])[0].cpu().numpy()
