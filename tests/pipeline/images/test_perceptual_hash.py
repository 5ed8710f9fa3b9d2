"""Copies of an image share its hash but for a few bits, other images do not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from litelvlm.pipeline.images.perceptual_hash import perceptual_hash


def photo(seed: int, size_hw: tuple[int, int] = (600, 800)) -> np.ndarray:
    """A smooth, noisy (H, W, 3) uint8 image."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size_hw[::-1], Image.Resampling.BICUBIC)).astype(float)
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def distance(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_copies_of_another_size_and_quality_are_near_and_others_are_far(seed: int) -> None:
    whole = photo(seed)
    buffer = io.BytesIO()
    Image.fromarray(whole).resize((310, 235), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=60)
    own = perceptual_hash(whole)
    assert len(own) == 16
    assert distance(own, perceptual_hash(np.asarray(Image.open(buffer)))) <= 3
    assert distance(own, perceptual_hash(photo(seed + 100))) >= 16
    assert distance(own, perceptual_hash(whole[:, ::-1])) >= 16


def test_each_bit_says_whether_it_gets_brighter_to_the_right() -> None:
    ramp = np.tile(np.linspace(0, 255, 90).astype(np.uint8)[None, :, None], (80, 1, 3))
    assert perceptual_hash(ramp) == "f" * 16
    assert perceptual_hash(ramp[:, ::-1]) == "0" * 16


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 5000), (5000, 1), (7, 9)])
def test_images_of_any_shape_have_one(size_hw: tuple[int, int]) -> None:
    assert perceptual_hash(np.full((*size_hw, 3), 90, dtype=np.uint8)) == "0" * 16
