"""Running out of memory makes micro-batches smaller, for good, and changes no mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from litelvlm import AnnotationRequest, Annotator, PruningConfig
from litelvlm.engine.memory import BatchLimit, is_out_of_memory
from litelvlm.engine.request import AnnotationResult
from tests.litelvlm.engine.test_annotator import _requests
from tests.parity.fixtures import mask_iou

pytestmark = pytest.mark.slow

PRUNING = PruningConfig(num_retain_tokens=20, rule="paper")
STAGES = {"clip": "encode_clip", "llm": "prefill", "sam": "encode_sam", "decode_masks": "decode"}


class Memory:
    """Wraps a runner's stage: more items at once than `room` raise what torch raises."""

    def __init__(self, stage: Any, items_of: Any, room: int) -> None:
        self._stage, self._items_of, self._room = stage, items_of, room
        self.seen: list[int] = []
        self.failures = 0

    def __call__(self, *arguments: Any) -> Any:
        count = len(self._items_of(arguments))
        if count > self._room:
            self.failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.seen.append(count)
        return self._stage(*arguments)


@pytest.fixture(scope="module")
def asked() -> list[AnnotationRequest]:
    return _requests(5, 3)


@pytest.fixture(scope="module")
def expected(demo_annotator: Annotator, asked: list[AnnotationRequest]) -> list[AnnotationResult]:
    """The answers of a model that has all the memory it asks for."""
    return demo_annotator.annotate(asked, PRUNING, batch_images=3)


def with_room(tiny: Annotator, stage: str, room: int) -> tuple[Annotator, Memory]:
    """An annotator of the same model whose stage takes only so many items at once."""
    annotator = Annotator(tiny.checkpoint, tiny.model)
    method = STAGES[stage]
    memory = Memory(getattr(annotator._runner, method), lambda given: given[0 if len(given) == 1 else 1], room)
    setattr(annotator._runner, method, memory)
    return annotator, memory


@pytest.mark.parametrize("room", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_does_not_fit_shrinks_once_and_gives_the_same_masks(
    demo_annotator: Annotator,
    asked: list[AnnotationRequest],
    expected: list[AnnotationResult],
    stage: str,
    room: int,
) -> None:
    annotator, memory = with_room(demo_annotator, stage, room)
    for attempt in range(2):
        results = annotator.annotate(asked, PRUNING, batch_images=3)
        if attempt == 0:
            assert memory.failures > 0
            needed = memory.failures
        for result, other in zip(results, expected, strict=True):
            np.testing.assert_allclose(result.scores, other.scores, atol=1e-4)
            assert [kept.tolist() for kept in result.retained] == [kept.tolist() for kept in other.retained]
            assert all(mask_iou(a, b) >= 0.999 for a, b in zip(result.masks, other.masks, strict=True))
    assert memory.failures == needed, "what fits was not remembered"
    assert max(memory.seen) <= room
    assert annotator.batch_limits[stage] < demo_annotator.batch_limits[stage]


def test_an_item_that_does_not_fit_alone_is_an_error(demo_annotator: Annotator) -> None:
    annotator, _ = with_room(demo_annotator, "sam", 0)
    with pytest.raises(torch.OutOfMemoryError):
        annotator.annotate(_requests(6, 1), PRUNING)


@pytest.mark.parametrize("size", [1, 3, 7, 64])
@pytest.mark.parametrize("room", [1, 2, 5])
def test_every_item_is_processed_once_and_in_order(size: int, room: int) -> None:
    def process(group: list[int]) -> list[int]:
        if len(group) > room:
            raise MemoryError
        return [item * 10 for item in group]

    limit = BatchLimit(size)
    done = limit.run(range(23), process)
    assert [item for group, _ in done for item in group] == list(range(23))
    assert [item for _, results in done for item in results] == [item * 10 for item in range(23)]
    assert limit.size <= size


def test_only_a_lack_of_memory_is_tried_again() -> None:
    calls = []

    def process(group: list[int]) -> None:
        calls.append(group)
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        BatchLimit(4).run(range(4), process)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 8 bytes"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_what_counts_as_a_lack_of_memory(error: Any, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_request_too_large_for_the_host_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)


def test_an_image_without_phrases_needs_no_memory(demo_annotator: Annotator) -> None:
    annotator, _ = with_room(demo_annotator, "sam", 0)
    image = np.zeros((50, 60, 3), np.uint8)
    assert annotator.annotate([AnnotationRequest(image=image, phrases=[])], PRUNING)[0].masks.shape == (0, 50, 60)
