"""Resizing: the release's pixels exactly, or almost and faster."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from litelvlm import Preprocessor
from litelvlm.preprocess import clip_resize, clip_size, resize_exactly, resize_fast, sam_input_size
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY

SIZES = [(480, 640), (640, 480), (864, 1152), (333, 500), (240, 320), (1500, 2000), (337, 336), (100, 700), (1, 1)]
CLIP_SIDE, SAM_SIDE = 336, 1024


def photo(size_hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Smooth colours with noise on top."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize(size_hw[::-1], 3)
    return np.clip(np.asarray(coarse).astype(int) + rng.normal(0, 8, (*size_hw, 3)), 0, 255).astype(np.uint8)


def release_clip(image: np.ndarray) -> np.ndarray:
    """Resize the whole image, then cut out the middle, as CLIP's processor does."""
    size = clip_size(image.shape[:2], CLIP_SIDE)
    whole = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))
    top, left = (size[0] - CLIP_SIDE) // 2, (size[1] - CLIP_SIDE) // 2
    return whole[top : top + CLIP_SIDE, left : left + CLIP_SIDE]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_exact_pixels_are_those_of_resizing_the_whole_image(size: Any) -> None:
    image = photo(size)
    np.testing.assert_array_equal(clip_resize(image, CLIP_SIDE, resize_exactly), release_clip(image))
    sam_size = sam_input_size(size, SAM_SIDE)
    whole = np.asarray(Image.fromarray(image).resize(sam_size[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize_exactly(image, sam_size, Image.Resampling.BILINEAR), whole)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_fast_pixels_are_almost_the_same(size: Any) -> None:
    image = photo(size)
    for fast, exact in (
        (clip_resize(image, CLIP_SIDE, resize_fast), release_clip(image)),
        (
            resize_fast(image, sam_input_size(size, SAM_SIDE), Image.Resampling.BILINEAR),
            resize_exactly(image, sam_input_size(size, SAM_SIDE), Image.Resampling.BILINEAR),
        ),
    ):
        difference = np.abs(fast.astype(int) - exact.astype(int))
        assert fast.shape == exact.shape
        assert difference.max() <= 2
        assert (difference > 1).mean() < 1e-4
        assert (difference > 0).mean() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_fast_pixels_do_not_depend_on_how_they_lie_in_memory(size: Any, resample: Image.Resampling) -> None:
    """Resized channel by channel, and cut out of a larger image, they are the same to the bit."""
    image, target, crop = photo(size), (341, 455), (5, 7, 300, 401)
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    mode = "bicubic" if resample == Image.Resampling.BICUBIC else "bilinear"
    expected = torch.nn.functional.interpolate(planes, target, mode=mode, antialias=True)[0].numpy().transpose(1, 2, 0)
    whole, part = resize_fast(image, target, resample), resize_fast(image, target, resample, crop)
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(part, expected[5:305, 7:408])
    assert whole.flags.c_contiguous
    assert part.flags.c_contiguous
    large = np.zeros((size[0] + 3, size[1] + 5, 3), np.uint8)
    large[3:, 5:] = image
    np.testing.assert_array_equal(resize_fast(large[3:, 5:], target, resample), expected)


def test_a_smaller_decoding_gives_pixels_of_the_same_shape_and_masks_of_the_original_size() -> None:
    preprocessor = Preprocessor.from_pretrained(GLAMM_TINY, CLIP_TINY, "fast")
    image = photo((900, 1300))
    height, width = preprocessor.needed_size((900, 1300))  # type: ignore[misc]
    assert 900 > height >= preprocessor.config.clip.image_size
    assert width >= preprocessor.config.sam.image_size
    whole = preprocessor.prepare(image)
    smaller = preprocessor.prepare(np.ascontiguousarray(image[::2, ::2]), (900, 1300))
    assert smaller.original_size_hw == whole.original_size_hw == (900, 1300)
    assert smaller.sam_pixels.shape == whole.sam_pixels.shape
    assert smaller.clip_pixels.shape == whole.clip_pixels.shape


def test_exact_resizing_needs_every_pixel() -> None:
    assert Preprocessor.from_pretrained(GLAMM_TINY, CLIP_TINY).needed_size((900, 1300)) is None


def test_the_way_of_resizing_travels_with_the_preprocessor() -> None:
    preprocessor = pickle.loads(pickle.dumps(Preprocessor.from_pretrained(GLAMM_TINY, CLIP_TINY, "fast")))
    assert preprocessor.resizing == "fast"


def test_an_unknown_way_is_named() -> None:
    with pytest.raises(ValueError, match="resizing: 'quick'"):
        Preprocessor.from_pretrained(GLAMM_TINY, CLIP_TINY, "quick")
