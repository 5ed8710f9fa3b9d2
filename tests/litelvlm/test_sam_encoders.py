"""A name stands for an encoder."""

from __future__ import annotations

import pytest
import torch

from litelvlm import Annotator
from litelvlm.compiled_sam import CompiledSamEncoder
from litelvlm.folded_sam import BiasedSamEncoder, FoldedSamEncoder
from litelvlm.sam_attention import CudnnSamEncoder
from litelvlm.sam_encoders import sam_encoder


def test_names(tiny_annotator: Annotator) -> None:
    grounding = tiny_annotator.model.grounding_encoder
    assert type(sam_encoder(grounding, "folded")) is FoldedSamEncoder
    assert isinstance(sam_encoder(grounding, "biased"), BiasedSamEncoder)
    assert isinstance(sam_encoder(grounding, "cudnn"), CudnnSamEncoder)
    for kind in ("folded+compiled", "cudnn+compiled", "flex+compiled"):
        assert isinstance(sam_encoder(grounding, kind), CompiledSamEncoder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["biased", "folded"])
@torch.inference_mode()
def test_they_agree_with_the_plain_one(demo_annotator: Annotator, kind: str) -> None:
    grounding = demo_annotator.model.grounding_encoder
    pixels = torch.randn(1, 3, grounding.sizes.image_size, grounding.sizes.image_size)
    found, plain = (sam_encoder(grounding, one)(pixels) for one in (kind, "plain"))
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-3)
