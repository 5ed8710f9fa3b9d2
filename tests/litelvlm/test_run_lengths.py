"""Run lengths from low-resolution logits: SAM's own enlarging, and pycocotools' encoding, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from benchmarks.release_loop import upsample_logits
from litelvlm.pipeline.masks import encode_run_lengths
from litelvlm.preprocess import sam_input_size
from litelvlm.run_lengths import axis, dense_run_lengths, mask_from_run_lengths, mask_run_lengths

SIZES = [(480, 640), (240, 320), (1, 1), (1, 700), (700, 1), (333, 7), (2, 300), (1500, 1100)]


def blobs(seed: int, num_phrases: int, side: int, offset: float) -> torch.Tensor:
    """Smooth random logits; the larger the offset, the smaller the masks."""
    coarse = torch.randn(num_phrases, 1, 7, 7, generator=torch.Generator().manual_seed(seed))
    return 4 * torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")[:, 0] - offset


def masks_of(low_res: torch.Tensor, size: tuple[int, int], target: int) -> np.ndarray:
    """The whole masks, as SAM makes them."""
    whole = upsample_logits(low_res, input_size_hw=sam_input_size(size, target), size_hw=size, target=target)
    return (whole > 0).numpy()


def dense(low_res: torch.Tensor, size: tuple[int, int], target: int) -> list[np.ndarray]:
    """What a GPU does, here."""
    inputs = sam_input_size(size, target)
    return dense_run_lengths(low_res, *(axis(low_res.shape[-1], target, *s) for s in zip(inputs, size, strict=True)))


def outlined(low_res: torch.Tensor, size: tuple[int, int], target: int) -> list[np.ndarray]:
    """What a CPU does."""
    return mask_run_lengths(low_res, input_size_hw=sam_input_size(size, target), size_hw=size, target=target)


@pytest.mark.slow
@pytest.mark.parametrize("find", [dense, outlined])
@pytest.mark.parametrize("offset", [-9.0, 0.0, 3.0, 99.0])
@pytest.mark.parametrize(("side", "target"), [(256, 1024), (64, 256), (32, 128)])
@pytest.mark.parametrize("size", SIZES)
def test_they_are_those_of_the_enlarged_logits_and_encode_as_pycocotools_does(
    find: Any, size: Any, side: int, target: int, offset: Any
) -> None:
    low_res = blobs(hash((size, side)) % 1000, 3, side, offset)
    expected = masks_of(low_res, size, target)
    for run_lengths, mask in zip(find(low_res, size, target), expected, strict=True):
        found = mask_from_run_lengths(run_lengths, size)
        assert (found != mask).sum() <= 1e-5 * mask.size + 1, "more than a pixel or two on the threshold differ"
        encoded = encode_run_lengths(run_lengths, size)
        reference = coco_mask.encode(np.asfortranarray(found.astype(np.uint8)))
        assert encoded.counts.encode() == reference["counts"]
        assert encoded.area == int(coco_mask.area(reference))
        assert list(encoded.bbox_xywh) == coco_mask.toBbox(reference).tolist()


@pytest.mark.slow
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    offset=st.floats(-8, 8),
    noise=st.floats(0, 5),
)
def test_both_ways_agree_on_any_size(seed: Any, height: Any, width: Any, offset: Any, noise: Any) -> None:
    low_res = blobs(seed, 2, 32, offset)
    low_res += noise * torch.randn(low_res.shape, generator=torch.Generator().manual_seed(seed))
    for one, other in zip(dense(low_res, (height, width), 128), outlined(low_res, (height, width), 128), strict=True):
        assert one.sum() == other.sum() == height * width
        first, second = (mask_from_run_lengths(found, (height, width)) for found in (one, other))
        assert (first != second).sum() <= 1


def test_bands_of_columns_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    low_res = blobs(1, 3, 64, 0.0)
    whole = dense(low_res, (211, 307), 256)
    monkeypatch.setattr("litelvlm.run_lengths._BAND_PIXELS", 3 * 211 * 10)
    for one, other in zip(whole, dense(low_res, (211, 307), 256), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_nothing_and_everything(value: Any) -> None:
    low_res = torch.full((1, 64, 64), value)
    for find in (dense, outlined):
        (run_lengths,) = find(low_res, (30, 50), 256)
        assert run_lengths.tolist() == ([0, 1500] if value > 0 else [1500])


def test_nan_is_outside() -> None:
    low_res = torch.full((1, 64, 64), float("nan"))
    for find in (dense, outlined):
        assert find(low_res, (30, 50), 256)[0].tolist() == [1500]


def test_no_phrases() -> None:
    assert dense(torch.zeros(0, 64, 64), (30, 50), 256) == outlined(torch.zeros(0, 64, 64), (30, 50), 256) == []
