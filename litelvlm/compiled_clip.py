"""CLIP's vision tower in the formulation of a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from litelvlm.clip_encoder import ClipEncoder, ClipFeatures, run_block
from litelvlm.compiled import Compiled, varying


def clip_encoder(clip: ClipEncoder, kind: str) -> Callable[[Tensor], ClipFeatures]:
    """From normalised pixels Bx3xSxS to what the tower hands on.

    Args:
        clip: the weights.
        kind: of `litelvlm.formulation.CLIP_KINDS`.
    """
    return CompiledClipEncoder(clip) if kind == "compiled" else clip.encode_images


class CompiledClipEncoder:
    """Runs the vision tower with its blocks compiled, once for all of them and for every batch of two or more images.

    Args:
        clip: the weights.
        backend: of torch.compile.
    """

    def __init__(self, clip: ClipEncoder, backend: Any = "inductor") -> None:
        self._clip, self._block = clip, Compiled(run_block, "CLIP", backend=backend)

    @property
    def is_compiled(self) -> bool:
        """False once compilation has failed."""
        return self._block.is_compiled

    def __call__(self, pixels: Tensor) -> ClipFeatures:
        """As `ClipEncoder.encode_images`."""
        return self._clip.encode_images(pixels, self._run_block)

    def _run_block(self, block: Any, hidden: Tensor) -> Tensor:
        return self._block(block, varying(hidden))
