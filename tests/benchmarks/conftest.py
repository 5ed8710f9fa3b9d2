"""Fixtures of the benchmarks' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from benchmarks.full_size import SIZES, Contest, random_annotator


@pytest.fixture(scope="session")
def small_contest() -> Iterator[Contest]:
    """The small model with random weights, on the CPU."""
    size = SIZES["small"]
    with random_annotator(size, torch.device("cpu"), "float32") as annotator:
        yield Contest(annotator=annotator, size=size)
