"""From logits to COCO's run lengths, on blobs: noise would have outlines that no mask has."""

from __future__ import annotations

import functools
from typing import Any

import torch

from benchmarks.gpu.session import Findings, Session
from benchmarks.timing import time_kernel
from litelvlm.config import SamSizes
from litelvlm.pipeline.masks import encode_run_lengths
from litelvlm.preprocess import sam_input_size
from litelvlm.run_lengths import mask_run_lengths

SIZES_HW = {"0.3 MP": (480, 640), "1 MP": (864, 1152), "12 MP": (3000, 4000)}
MASKS = 16
_CALLS = 3


def run(session: Session, found: Findings) -> None:
    """Milliseconds of a mask at three sizes of the original: finding run lengths, and writing COCO's string."""
    sizes = SamSizes()  # the published ones, whatever the model here: what is timed depends on them alone
    logits = blobs(MASKS, sizes.low_res_size, session.device)
    for name, size_hw in SIZES_HW.items():
        session.require(1)
        input_hw = sam_input_size(size_hw, sizes.image_size)
        find: Any = functools.partial(
            mask_run_lengths, logits, input_size_hw=input_hw, size_hw=size_hw, target=sizes.image_size
        )
        lengths = find()
        found_s = time_kernel(find, session.device, calls=_CALLS)
        encode = functools.partial(_encode, lengths, size_hw)
        encoded_s = time_kernel(encode, torch.device("cpu"), calls=_CALLS)
        found.rows("milliseconds a mask").append({
            "size": name, "find": round(1e3 * found_s.wall_s / MASKS, 4),
            "encode": round(1e3 * encoded_s.wall_s / MASKS, 4),
            "runs": round(sum(map(len, lengths)) / MASKS, 1),
        })  # fmt: skip


def blobs(count: int, side: int, device: torch.device) -> torch.Tensor:
    """Smooth logits PxLxL float32, most of them below zero."""
    coarse = torch.randn(count, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    return (4 * torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")[:, 0] - 3).to(device)


def _encode(run_lengths: list[Any], size_hw: tuple[int, int]) -> None:
    for one in run_lengths:
        encode_run_lengths(one, size_hw)
