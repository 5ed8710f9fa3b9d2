"""Fixtures of the model's tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parity.fixtures import GLAMM_TINY


@pytest.fixture
def glamm_copy(tmp_path: Path) -> Path:
    """The tiny checkpoint, to be spoilt."""
    return Path(shutil.copytree(GLAMM_TINY, tmp_path / "glamm"))


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """torch.compile that has compiled and counted nothing yet."""
    import torch  # as costly as all else here, and few want it
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()
    counters.clear()
