"""SAM's image encoder with static shapes: batches of few sizes, each compiled once.

What is compiled is a layer, not the encoder: its 32 layers are two kinds (windows, global), so that a batch size costs
two small compilations instead of one of a minute. Inductor's mode is the default one. CUDA graphs would save launches
that hide behind a layer's milliseconds, and would hold memory for each batch size; `max-autotune` takes minutes at
every start for products that cuBLAS already runs near the peak.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamVisionEncoder

from litelvlm.compiled import Compiled
from litelvlm.folded_sam import FoldedSamEncoder, sam_layer

BUCKETS = (1, 2, 4, 8)
_MOST_PADDING = 1 / 8  # of a batch's rows; beyond that two smaller batches are less work


def bucket_sizes(count: int) -> list[int]:
    """Batch sizes, all of them buckets, that together hold `count` images; at most the last one is padded.

    >>> bucket_sizes(7), bucket_sizes(5), bucket_sizes(19)
    ([8], [4, 1], [8, 8, 2, 1])
    """
    sizes = []
    while count > 0:
        above = next((size for size in BUCKETS if size >= count), BUCKETS[-1])
        padded_little = above - count <= _MOST_PADDING * above
        sizes.append(above if padded_little else max(size for size in BUCKETS if size <= count))
        count -= sizes[-1]
    return sizes


def pad_batch(pixels: Tensor, size: int) -> Tensor:
    """The first `size` images of Bx3xSxS, with rows of zeros where there are not so many."""
    return nn.functional.pad(pixels[:size], (0, 0) * (pixels.dim() - 1) + (0, max(0, size - len(pixels))))


class CompiledSamEncoder:
    """Runs a `SamVisionEncoder` in buckets, compiled; in plain PyTorch where compilation fails.

    Args:
        vision: the weights.
        kind: how attention finds relative positions.
        backend: of torch.compile.
    """

    def __init__(
        self, vision: SamVisionEncoder, kind: type[FoldedSamEncoder] = FoldedSamEncoder, backend: Any = "inductor"
    ) -> None:
        self._layer = Compiled(sam_layer, "SAM's encoder", backend=backend)
        self._encode = kind(vision, self._layer)

    @property
    def is_compiled(self) -> bool:
        """False once compilation has failed."""
        return self._layer.is_compiled

    def __call__(self, pixels: Tensor) -> Tensor:
        """Image embeddings BxCxGxG of normalised, padded pixels Bx3xSxS."""
        parts, start = [], 0
        for size in bucket_sizes(len(pixels)):
            part = pixels[start : start + size]
            parts.append(self._encode(pad_batch(part, size))[: len(part)])
            start += size
        return parts[0] if len(parts) == 1 else torch.cat(parts)
