"""A name stands for an encoder."""

from __future__ import annotations

import pytest
import torch

from litelvlm import Annotator
from litelvlm.compiled_sam import CompiledSamEncoder
from litelvlm.folded_sam import FoldedSamEncoder
from litelvlm.sam_encoders import sam_encoder


def test_names(tiny_annotator: Annotator) -> None:
    grounding = tiny_annotator.model.grounding_encoder
    assert isinstance(sam_encoder(grounding, "folded"), FoldedSamEncoder)
    assert isinstance(sam_encoder(grounding, "folded+compiled"), CompiledSamEncoder)


@pytest.mark.slow
@torch.inference_mode()
def test_plain_and_folded_agree(demo_annotator: Annotator) -> None:
    grounding = demo_annotator.model.grounding_encoder
    pixels = torch.randn(1, 3, grounding.sizes.image_size, grounding.sizes.image_size)
    plain, folded = (sam_encoder(grounding, kind)(pixels) for kind in ("plain", "folded"))
    torch.testing.assert_close(folded, plain, rtol=1e-3, atol=1e-3)
