"""Fixtures of the model's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.parity.fixtures import GLAMM_TINY


@pytest.fixture
def glamm_copy(tmp_path: Path) -> Path:
    """The tiny checkpoint, to be spoilt."""
    return Path(shutil.copytree(GLAMM_TINY, tmp_path / "glamm"))
