"""Training scenes, rendered once to memory-mapped arrays, so that drawing never holds up training."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from litelvlm.demo.phrases import list_expressions
from litelvlm.demo.scenes import draw_scene
from litelvlm.preprocess import clip_resize, resize_exactly, sam_input_size

CLIP_SIZE = 144
SAM_SIZE = 192
BACKGROUND = 255
_CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class SceneArrays:
    """N rendered scenes.

    Attributes:
        clip_pixels: Nx144x144x3 uint8.
        sam_pixels: Nx192x192x3 uint8, zero-padded right and bottom.
        labels: Nx192x192 uint8 in the frame of `sam_pixels`: index of the visible object, 255 elsewhere.
        sizes_hw: Nx2, the part of `sam_pixels` that is image.
        expressions: for each scene every unambiguous phrase with the index of its object.
        descriptions: for each scene its objects in words.
    """

    clip_pixels: np.ndarray
    sam_pixels: np.ndarray
    labels: np.ndarray
    sizes_hw: np.ndarray
    expressions: list[list[tuple[str, int]]]
    descriptions: list[list[str]]

    def __len__(self) -> int:
        return len(self.expressions)


def _render_one(seed: int) -> tuple[Any, ...]:
    scene = draw_scene(seed)
    size_hw = sam_input_size(scene.image.shape[:2], SAM_SIZE)
    sam = np.zeros((SAM_SIZE, SAM_SIZE, 3), dtype=np.uint8)
    sam[: size_hw[0], : size_hw[1]] = resize_exactly(scene.image, size_hw, Image.Resampling.BILINEAR)
    objects = np.full(scene.image.shape[:2], BACKGROUND, dtype=np.uint8)
    for index, mask in enumerate(scene.object_masks):
        objects[mask] = index
    labels = np.full((SAM_SIZE, SAM_SIZE), BACKGROUND, dtype=np.uint8)
    labels[: size_hw[0], : size_hw[1]] = np.array(
        Image.fromarray(objects).resize(size_hw[::-1], Image.Resampling.NEAREST)
    )
    expressions = [(e.text, e.target) for e in list_expressions(scene.objects)]
    words = [f"{o.size} {o.colour} {o.shape}" for o in scene.objects]
    return clip_resize(scene.image, CLIP_SIZE, resize_exactly), sam, labels, size_hw, expressions, words


def _render_chunk(directory: Path, start: int, seeds: range) -> list[tuple[Any, ...]]:
    texts = []
    arrays = _open(directory, "r+")
    for offset, seed in enumerate(seeds):
        *pixels, expressions, words = _render_one(seed)
        for array, values in zip(arrays, pixels, strict=True):
            array[start + offset] = values
        texts.append((expressions, words))
    return texts


def _shapes(count: int) -> dict[str, tuple[int, ...]]:
    return {
        "clip": (count, CLIP_SIZE, CLIP_SIZE, 3),
        "sam": (count, SAM_SIZE, SAM_SIZE, 3),
        "labels": (count, SAM_SIZE, SAM_SIZE),
        "sizes": (count, 2),
    }


def _open(directory: Path, mode: Literal["r", "r+"]) -> list[np.ndarray]:
    return [np.load(directory / f"{name}.npy", mmap_mode=mode) for name in _shapes(0)]


def render_scenes(directory: Path, first_seed: int, count: int, workers: int = 2) -> SceneArrays:
    """Renders `count` scenes from `first_seed` on, or opens them if `directory` already holds them."""
    if not (directory / "texts.json").is_file():
        directory.mkdir(parents=True, exist_ok=True)
        for name, shape in _shapes(count).items():
            np.lib.format.open_memmap(directory / f"{name}.npy", mode="w+", dtype=np.uint8, shape=shape).flush()
        starts = range(0, count, _CHUNK)
        seeds = [range(first_seed + s, first_seed + min(s + _CHUNK, count)) for s in starts]
        with ProcessPoolExecutor(workers) as pool:
            parts = list(pool.map(_render_chunk, [directory] * len(starts), starts, seeds))
        (directory / "texts.json").write_text(json.dumps([text for part in parts for text in part]))
    texts = json.loads((directory / "texts.json").read_text())
    clip, sam, labels, sizes = _open(directory, "r")
    return SceneArrays(
        clip_pixels=clip,
        sam_pixels=sam,
        labels=labels,
        sizes_hw=sizes,
        expressions=[[(text, target) for text, target in scene[0]] for scene in texts],
        descriptions=[scene[1] for scene in texts],
    )
