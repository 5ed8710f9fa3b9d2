"""SAM's image encoder in the formulation of a name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from litelvlm.compiled_sam import CompiledSamEncoder
from litelvlm.folded_sam import BiasedSamEncoder, FoldedSamEncoder
from litelvlm.formulation import COMPILED
from litelvlm.grounding_encoder import GroundingEncoder
from litelvlm.sam_attention import CudnnSamEncoder, FlexSamEncoder

_ENCODERS = {
    "biased": BiasedSamEncoder,
    "folded": FoldedSamEncoder,
    "cudnn": CudnnSamEncoder,
    "flex": FlexSamEncoder,
}


def sam_encoder(grounding: GroundingEncoder, kind: str) -> Callable[[Tensor], Tensor]:
    """From normalised, padded pixels Bx3xSxS to image embeddings BxCxGxG.

    Folding spares a GPU the bias, 0.5 GB in each global layer; a CPU is faster with one.

    Args:
        grounding: the weights.
        kind: of `litelvlm.formulation.SAM_KINDS`.
    """
    if kind == "plain":
        return grounding.encode_images
    name = kind.removesuffix(COMPILED)
    if name == "kernel":
        from litelvlm.sam_kernel import KernelSamEncoder  # Triton comes with PyTorch's CUDA builds only

        encoder: type[FoldedSamEncoder] = KernelSamEncoder
    else:
        encoder = _ENCODERS[name]
    return CompiledSamEncoder(grounding.image_encoder, encoder) if name != kind else encoder(grounding.image_encoder)
