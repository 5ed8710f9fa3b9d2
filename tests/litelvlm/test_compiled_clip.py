"""CLIP's vision tower compiled: the same features, and one compilation for all blocks and batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from litelvlm.clip_encoder import ClipEncoder, run_block
from litelvlm.compiled_clip import CompiledClipEncoder, clip_encoder
from litelvlm.engine.annotator import Annotator
from litelvlm.engine.runner import Runner
from litelvlm.formulation import Formulation
from tests.litelvlm.test_clip_encoder import SIZES

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_compiler")]


@pytest.fixture(scope="module")
def encoder() -> ClipEncoder:
    torch.manual_seed(0)
    return ClipEncoder(replace(SIZES, vision_layers=5)).eval().requires_grad_(False)


def assert_same(encoder: ClipEncoder, compiled: CompiledClipEncoder, count: int) -> None:
    pixels = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(count))
    for found, expected in zip(compiled(pixels), encoder.encode_images(pixels), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_all_blocks_and_batches_share_a_compilation(encoder: ClipEncoder) -> None:
    compiled = CompiledClipEncoder(encoder, backend="aot_eager")
    for count in (3, 8, 2, 5):
        assert_same(encoder, compiled, count)
    assert counters["stats"]["unique_graphs"] == 1
    assert_same(encoder, compiled, 1)
    assert_same(encoder, compiled, 4)
    assert counters["stats"]["unique_graphs"] == 2, "one image is a case of its own"
    assert not counters["graph_break"]
    assert compiled.is_compiled


@torch.inference_mode()
def test_inductor_compiles_it_exactly(encoder: ClipEncoder) -> None:
    compiled = CompiledClipEncoder(encoder)
    for count in (3, 2):
        assert_same(encoder, compiled, count)
    assert compiled.is_compiled


@torch.inference_mode()
def test_where_compilation_fails_the_tower_runs_all_the_same(encoder: ClipEncoder) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no compiler")

    compiled = CompiledClipEncoder(encoder, backend=broken)
    assert_same(encoder, compiled, 2)
    assert not compiled.is_compiled


@torch.inference_mode()
def test_it_is_compiled_when_asked(demo_annotator: Annotator) -> None:
    model = demo_annotator.model
    assert isinstance(clip_encoder(model.clip, "compiled"), CompiledClipEncoder)
    runner = Runner(model, demo_annotator.clip_tokenizer, formulation=Formulation(clip="compiled"))
    assert isinstance(runner._encode_clip, CompiledClipEncoder)
    hidden = torch.randn(2, 7, demo_annotator.config.clip.vision_width)
    block = model.clip.clip.visual.transformer.resblocks[0]
    explained = torch._dynamo.explain(run_block)(block, hidden)
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)
