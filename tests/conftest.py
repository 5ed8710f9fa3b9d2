"""Fixtures shared by all tests."""

from __future__ import annotations

import pytest

from litelvlm import Annotator
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY


@pytest.fixture(scope="session")
def tiny_annotator() -> Annotator:
    """The parity checkpoint: random weights, all the real model's parts."""
    return Annotator.from_pretrained(GLAMM_TINY, clip=CLIP_TINY)


@pytest.fixture(scope="session")
def demo_annotator() -> Annotator:
    """The trained checkpoint that the project ships."""
    return Annotator.from_pretrained("demo")
