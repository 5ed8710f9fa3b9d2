"""Micro-batches from free memory."""

from __future__ import annotations

from typing import Any

import pytest

from litelvlm.config import GlammConfig
from litelvlm.engine.annotator import Annotator
from litelvlm.engine.capacity import images_at_once, item_bytes, micro_batches, tokens_read

GIB = 2**30
FULL = GlammConfig()


def test_a_large_gpu_gets_what_fills_it() -> None:
    sizes = micro_batches(FULL, free_bytes=60 * GIB, element_bytes=2)
    assert sizes == {"clip": 32, "llm": 16384, "sam": 8, "decode_masks": 64, "masks": 64}
    assert images_at_once(sizes, on_gpu=True) == 16


def test_less_memory_never_gives_a_larger_micro_batch_and_always_one_item() -> None:
    before = micro_batches(FULL, free_bytes=80 * GIB, element_bytes=2)
    for free in (20 * GIB, 8 * GIB, 2 * GIB, GIB // 2, 0):
        sizes = micro_batches(FULL, free_bytes=free, element_bytes=2)
        assert all(1 <= sizes[stage] <= before[stage] for stage in sizes)
        before = sizes
    assert set(before.values()) == {1}


@pytest.mark.parametrize("free", [2 * GIB, 6 * GIB, 24 * GIB])
def test_no_stage_is_meant_to_take_more_than_half(free: Any) -> None:
    sizes = micro_batches(FULL, free_bytes=free, element_bytes=2)
    for stage, size in item_bytes(FULL, 2).items():
        assert sizes[stage] == 1 or sizes[stage] * size <= free / 2


def test_the_dtype_counts() -> None:
    half = micro_batches(FULL, free_bytes=2 * GIB, element_bytes=2)
    whole = micro_batches(FULL, free_bytes=2 * GIB, element_bytes=4)
    assert whole["sam"] < half["sam"]
    assert whole["llm"] < half["llm"]


def test_a_cpu_takes_more_items_of_a_small_model(demo_annotator: Annotator) -> None:
    large, small = micro_batches(FULL, free_bytes=None, element_bytes=4), demo_annotator.batch_limits
    assert large == {"clip": 4, "llm": 2048, "sam": 4, "decode_masks": 8, "masks": 64}
    assert (small["clip"], small["llm"], small["sam"]) == (16, 4096, 16)
    assert large["decode_masks"] < small["decode_masks"] <= 48
    assert images_at_once(small, on_gpu=False) == 16


@pytest.mark.parametrize(("layout", "expected"), [("separate", 3 * 226), ("shared", 192 + 102), ("rounds", 192 + 102)])
def test_tokens_of_an_image(layout: str, expected: int) -> None:
    assert tokens_read(3, 192, layout) == expected
    assert tokens_read(0, 192, layout) == 0
