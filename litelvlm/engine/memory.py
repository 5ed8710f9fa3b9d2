"""Micro-batches that shrink when the device runs out of memory, and stay as small as was found to fit.

Results do not depend on batching, so a run that had to shrink gives the masks it would have given otherwise.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")
Plan = Callable[[Sequence[int], int], list[list[int]]]

_HOST_ALLOCATOR = "can't allocate memory"  # torch has no exception type of its own for the host's memory
_LIBRARY_ALLOCATORS = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a device or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    texts = (_HOST_ALLOCATOR, *_LIBRARY_ALLOCATORS)
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


class BatchLimit:
    """The largest micro-batch of one stage, in the stage's unit: images, phrases or tokens.

    Attributes:
        size: the limit; halved whenever a micro-batch does not fit.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def run(
        self,
        items: Sequence[int],
        process: Callable[[list[int]], T],
        *,
        plan: Plan | None = None,
        cost: Callable[[list[int]], int] = len,
    ) -> list[tuple[list[int], T]]:
        """Processes every item in micro-batches, smaller ones from the first that does not fit on.

        Args:
            items: what is to be processed, e.g. indices of images.
            process: one micro-batch.
            plan: groups items under a limit; consecutive runs of `size` items by default.
            cost: what a group counts against the limit.

        Returns:
            each micro-batch with its result, in the order of the plan.

        Raises:
            torch.OutOfMemoryError, MemoryError, RuntimeError: a single item does not fit.
        """
        plan = plan or consecutive
        done: list[tuple[list[int], T]] = []
        groups = plan(items, self.size)
        while groups:
            group = groups[0]
            fits, result = _attempt(process, group)
            if fits:
                done.append((group, result[0]))
                groups = groups[1:]
                continue
            self.size = max(1, min(self.size, cost(group)) // 2)
            groups = plan([item for left in groups for item in left], self.size)
        return done


def _attempt(process: Callable[[list[int]], T], group: list[int]) -> tuple[bool, list[T]]:
    """Whether the group fits, and its result. The failed attempt's tensors are free again on return."""
    try:
        return True, [process(group)]
    except (MemoryError, RuntimeError) as error:
        if len(group) == 1 or not is_out_of_memory(error):
            raise
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False, []


def consecutive(items: Sequence[int], size: int) -> list[list[int]]:
    """Runs of at most `size` items."""
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
