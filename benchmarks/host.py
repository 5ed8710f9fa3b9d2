"""What the host does for every image and every mask, against the release's way, in turns, in one process.

    python -m benchmarks.host

Preprocessing is from JPEG bytes to the pixels that both encoders read. The release's path (OpenCV's decoder, CLIP's
image processor, SAM's `ResizeLongestSide`, float normalising and padding) ends with float tensors; ours with uint8
pixels, which the device normalises and pads. Masks are from low-resolution logits to COCO's string: the release's
enlarges every mask whole and encodes it with pycocotools; ours finds run lengths first. `encoding` is the part after
the mask or the run lengths are there. `floor` is what `fast` cannot go below with these libraries: Pillow's decoder
and torch's two resizes alone, without a copy around them. One thread each, by its processor time, which
other work on the machine moves less than the clock on the wall.
"""

from __future__ import annotations

import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from transformers import CLIPImageProcessorPil

from benchmarks.hardware import describe
from benchmarks.release_loop import upsample_logits
from benchmarks.synthetic import jpeg
from litelvlm import Preprocessor
from litelvlm.config import GlammConfig
from litelvlm.pipeline.images.decode import decode_image
from litelvlm.pipeline.masks import encode_run_lengths
from litelvlm.pixels import SAM_MEAN, SAM_STD
from litelvlm.preprocess import clip_size, sam_input_size
from litelvlm.run_lengths import mask_run_lengths
from tests.parity.fixtures import GLAMM_TINY

RESULTS = Path(__file__).parent / "results"
ROUNDS = 9
SIZES_HW = {"0.3 MP": (480, 640), "1 MP": (864, 1152), "12 MP": (3000, 4000)}
CLIP_SIDE, SAM_SIDE, LOW_RES_SIDE, NUM_MASKS = 336, 1024, 256, 4


def main() -> None:
    """Measure and write `results/host.json`."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    content: dict[str, Any] = {"hardware": describe(), "rounds": ROUNDS, "preprocessing": [], "masks": []}
    for name, size_hw in SIZES_HW.items():
        content["preprocessing"].append({"size": name} | measure_preprocessing(size_hw))
        content["masks"].append({"size": name} | measure_masks(size_hw))
        print(json.dumps({"preprocessing": content["preprocessing"][-1], "masks": content["masks"][-1]}), flush=True)
    (RESULTS / "host.json").write_text(json.dumps(content, indent=1) + "\n")


def measure_preprocessing(size_hw: tuple[int, int]) -> dict[str, Any]:
    """Milliseconds of an image, how much faster ours is, and by how many levels pixels differ."""
    data = jpeg(size_hw)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": CLIP_SIDE}, crop_size={"height": CLIP_SIDE, "width": CLIP_SIDE}
    )
    exact, fast = (Preprocessor(GlammConfig(), GLAMM_TINY, resizing) for resizing in ("exact", "fast"))

    def ours(preprocessor: Preprocessor, *, shrink: bool) -> tuple[np.ndarray, np.ndarray]:
        decoded = decode_image(data, needed_size=preprocessor.needed_size if shrink else None)
        prepared = preprocessor.prepare(decoded.rgb, decoded.size_hw)
        return prepared.clip_pixels, prepared.sam_pixels

    ways: dict[str, Callable[[], Any]] = {
        "release": lambda: release(data, processor),
        "exact": lambda: ours(exact, shrink=False),
        "fast_without_dct_scaling": lambda: ours(fast, shrink=False),
        "fast": lambda: ours(fast, shrink=True),
        "floor": floor_of(data, fast, size_hw),
    }
    seconds = race(ways)
    found: dict[str, Any] = {f"{name}_ms": round(1e3 * value, 2) for name, value in seconds.items()}
    reference = ways["exact"]()
    for name in ("exact", "fast_without_dct_scaling", "fast"):
        found[f"{name}_speedup"] = round(seconds["release"] / seconds[name], 2)
        differences = [np.abs(a.astype(int) - b) for a, b in zip(reference, ways[name](), strict=True)]
        found[f"{name}_max_level"] = [int(one.max()) for one in differences]
        found[f"{name}_mean_level"] = [round(float(one.mean()), 4) for one in differences]
    return found


def floor_of(data: bytes, preprocessor: Preprocessor, size_hw: tuple[int, int]) -> Callable[[], None]:
    """What decodes a JPEG as `fast` does and resizes it for both encoders, and does nothing else."""
    needed = preprocessor.needed_size(size_hw)
    assert needed is not None
    sam_hw, clip_hw = sam_input_size(size_hw, SAM_SIDE), clip_size(size_hw, CLIP_SIDE)

    def decode() -> Image.Image:
        image = Image.open(io.BytesIO(data))
        image.draft(None, needed[::-1])
        image.load()
        return image

    pixels = torch.from_numpy(np.array(decode())).unsqueeze(0).permute(0, 3, 1, 2)

    def run() -> None:
        decode()
        torch.nn.functional.interpolate(pixels, sam_hw, mode="bilinear", antialias=True)
        torch.nn.functional.interpolate(pixels, clip_hw, mode="bicubic", antialias=True)

    return run


def release(data: bytes, processor: CLIPImageProcessorPil) -> tuple[torch.Tensor, torch.Tensor]:
    """The release's `cv2.imread`, `CLIPImageProcessor`, `ResizeLongestSide.apply_image`, `grounding_enc_processor`."""
    rgb = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
    clip = processor.preprocess(rgb, return_tensors="pt")["pixel_values"][0]
    height, width = sam_input_size(rgb.shape[:2], SAM_SIDE)
    resized = np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))
    pixels = torch.from_numpy(resized).permute(2, 0, 1).contiguous()
    pixels = (pixels - torch.tensor(SAM_MEAN).view(-1, 1, 1)) / torch.tensor(SAM_STD).view(-1, 1, 1)
    return clip, torch.nn.functional.pad(pixels, (0, SAM_SIDE - width, 0, SAM_SIDE - height))


def measure_masks(size_hw: tuple[int, int]) -> dict[str, Any]:
    """Milliseconds of a mask and how much faster ours is; the strings are compared."""
    coarse = torch.randn(NUM_MASKS, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    low_res = 4 * torch.nn.functional.interpolate(coarse, (LOW_RES_SIDE, LOW_RES_SIDE), mode="bicubic")[:, 0] - 3
    sizes: dict[str, Any] = {"input_size_hw": sam_input_size(size_hw, SAM_SIDE), "size_hw": size_hw, "target": SAM_SIDE}
    masks = (upsample_logits(low_res, **sizes) > 0).numpy()
    run_lengths = mask_run_lengths(low_res, **sizes)

    def encode_naively(given: np.ndarray) -> list[bytes]:
        return [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"] for mask in given]

    def encode_ours(given: list[np.ndarray]) -> list[bytes]:
        return [encode_run_lengths(one, size_hw).counts.encode() for one in given]

    seconds = race({
        "release": lambda: encode_naively((upsample_logits(low_res, **sizes) > 0).numpy()),
        "ours": lambda: encode_ours(mask_run_lengths(low_res, **sizes)),
        "release_encoding": lambda: encode_naively(masks),
        "our_encoding": lambda: encode_ours(run_lengths),
    })  # fmt: skip
    assert encode_naively(masks) == encode_ours(run_lengths), "the strings differ"
    return {f"{name}_ms": round(1e3 * value / NUM_MASKS, 3) for name, value in seconds.items()} | {
        "speedup": round(seconds["release"] / seconds["ours"], 1),
        "encoding_speedup": round(seconds["release_encoding"] / seconds["our_encoding"], 1),
        "mean_area": round(float(masks.mean()), 3),
    }


def race(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median processor seconds of each; they take turns, and the first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, way in ways.items():
            started = time.process_time()
            way()
            if number:
                seconds[name].append(time.process_time() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
