"""Static shapes: images come out the same whatever they are batched with, and nothing is compiled twice."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from litelvlm.compiled_sam import BUCKETS, CompiledSamEncoder, bucket_sizes, pad_batch
from litelvlm.engine.annotator import Annotator
from litelvlm.engine.runner import Runner
from litelvlm.folded_sam import FoldedSamEncoder, sam_layer
from litelvlm.formulation import Formulation
from tests.litelvlm.test_folded_sam import random_encoder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_compiler")]


def pixels_for(num_images: int) -> torch.Tensor:
    return torch.randn(num_images, 3, 32, 32, generator=torch.Generator().manual_seed(num_images))


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, []),
        (1, [1]),
        (2, [2]),
        (3, [2, 1]),
        (4, [4]),
        (5, [4, 1]),
        (6, [4, 2]),
        (7, [8]),
        (8, [8]),
        (15, [8, 8]),
        (19, [8, 8, 2, 1]),
    ],
)
def test_batches_are_buckets(count: int, expected: Any) -> None:
    assert bucket_sizes(count) == expected


@pytest.mark.parametrize("count", range(1, 40))
def test_buckets_hold_all_images_and_little_else(count: Any) -> None:
    sizes = bucket_sizes(count)
    assert set(sizes) <= set(BUCKETS)
    assert 0 <= sum(sizes) - count <= math.ceil(count / 8)
    assert sum(sizes[:-1]) < count


def test_padding_adds_rows_of_zeros() -> None:
    pixels = pixels_for(3)
    padded = pad_batch(pixels, 8)
    assert padded.shape == (8, 3, 32, 32)
    assert torch.equal(padded[:3], pixels)
    assert not padded[3:].any()
    assert torch.equal(pad_batch(pixels, 3), pixels)


@pytest.mark.parametrize("count", [1, 3, 7, 9])
@torch.inference_mode()
def test_padding_changes_no_image(count: int) -> None:
    """`eager` runs the captured graph as it stands."""
    encoder = random_encoder(grid=8, window=3).double()
    pixels = pixels_for(count).double()
    expected = encoder(pixels).last_hidden_state
    found = CompiledSamEncoder(encoder, backend="eager")(pixels)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@torch.inference_mode()
def test_compiled_equals_eager_and_is_compiled_once_for_a_bucket() -> None:
    encoder = random_encoder(grid=8, window=3)
    compiled, eager = CompiledSamEncoder(encoder, backend="aot_eager"), FoldedSamEncoder(encoder)
    first = pixels_for(4)
    torch.testing.assert_close(compiled(first), eager(first), rtol=1e-4, atol=1e-4)
    assert counters["stats"]["unique_graphs"] == 2  # a layer with windows and a global one; three layers in all
    second = pixels_for(4) + 1
    torch.testing.assert_close(compiled(second), eager(second), rtol=1e-4, atol=1e-4)
    assert counters["stats"]["unique_graphs"] == 2
    compiled(pixels_for(8))
    assert counters["stats"]["unique_graphs"] == 4
    compiled(pixels_for(7))
    assert counters["stats"]["unique_graphs"] == 4
    assert not counters["graph_break"]
    assert compiled.is_compiled


@torch.inference_mode()
def test_all_buckets_of_several_models_fit_into_the_cache() -> None:
    for grid in (6, 8, 9):
        encoder = random_encoder(grid=grid, window=3)
        compiled = CompiledSamEncoder(encoder, backend="eager")
        for size in BUCKETS:
            compiled(torch.randn(size, 3, grid * 4, grid * 4))
        assert compiled.is_compiled


@torch.inference_mode()
def test_a_layer_is_one_graph() -> None:
    encoder = random_encoder(grid=8, window=3)
    explained = []

    def explain(*args: Any) -> Any:
        explained.append(torch._dynamo.explain(sam_layer)(*args))
        return sam_layer(*args)

    FoldedSamEncoder(encoder, explain)(pixels_for(1))
    assert [(one.graph_count, one.graph_break_count) for one in explained] == [(1, 0)] * 3


@torch.inference_mode()
def test_where_compilation_fails_the_encoder_runs_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def broken(graph: Any, inputs: Any) -> None:
        calls.append(graph)
        raise RuntimeError("no compiler\non this machine")

    encoder = random_encoder(grid=8, window=3)
    compiled = CompiledSamEncoder(encoder, backend=broken)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            pixels = pixels_for(2)
            torch.testing.assert_close(compiled(pixels), encoder(pixels).last_hidden_state, rtol=1e-4, atol=1e-4)
    ours = [record.getMessage() for record in caplog.records if record.name == "litelvlm.compiled"]
    assert len(ours) == len(calls) == 1
    assert ours[0].startswith("SAM's encoder runs without torch.compile: ")
    assert "\n" not in ours[0]
    assert not compiled.is_compiled


@torch.inference_mode()
def test_memory_that_runs_out_is_not_taken_for_a_missing_compiler() -> None:
    """Whoever chose the batch makes it smaller; the encoder stays compiled."""

    def greedy(graph: Any, inputs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    compiled = CompiledSamEncoder(random_encoder(grid=8, window=3), backend=greedy)
    with pytest.raises(torch.OutOfMemoryError):
        compiled(pixels_for(2))
    assert compiled.is_compiled


@pytest.mark.parametrize(("asked", "expected"), [("plain", False), ("folded", False), ("folded+compiled", True)])
def test_it_is_compiled_when_asked(demo_annotator: Annotator, asked: Any, expected: bool) -> None:
    runner = Runner(demo_annotator.model, demo_annotator.clip_tokenizer, formulation=Formulation(sam=asked))
    assert isinstance(runner._encode_sam, CompiledSamEncoder) is expected
