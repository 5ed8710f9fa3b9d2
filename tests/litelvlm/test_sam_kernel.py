"""SAM's kernel computes what folded heads do, under Triton's interpreter, and is one graph with its layer."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton", reason="Triton comes with PyTorch's CUDA builds")


@pytest.mark.slow
def test_it_equals_folded_heads() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "tests.litelvlm.kernels_interpreted", "main_sam"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_its_layer_is_one_graph() -> None:
    from litelvlm.folded_sam import FoldedSamEncoder, sam_layer
    from litelvlm.sam_kernel import KernelSamEncoder
    from tests.litelvlm.test_folded_sam import random_encoder

    encoder = random_encoder(grid=8, window=3).to("meta")
    pixels = torch.randn(2, 3, 32, 32, device="meta")
    torch._dynamo.reset()
    compiled = torch.compile(sam_layer, fullgraph=True, dynamic=False, backend="eager")
    with torch.inference_mode():
        found = KernelSamEncoder(encoder, compiled)(pixels)
        assert found.shape == FoldedSamEncoder(encoder)(pixels).shape
    torch._dynamo.reset()
