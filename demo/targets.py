"""What a phrase's object looks like to the trainer: its mask at the decoder's resolution, its place and its colour.

Places are in CLIP's crop, from 0 to 1, because the crop is all that the language model sees: in a wide image it cannot
know where the crop lies within the whole, and the grounding encoder, which can, has to translate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from litelvlm.demo.rendering import SceneArrays

Pick = tuple[int, int]  # index of a scene, index of an object in it


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """N objects.

    Attributes:
        centre_xy: Nx2 in CLIP's crop, from 0 to 1.
        extent: Nx2, width and height in sides of the crop.
        colour: Nx3, mean RGB from 0 to 1.
    """

    centre_xy: Tensor
    extent: Tensor
    colour: Tensor


def low_res_masks(scenes: SceneArrays, picks: list[Pick], low_res_size: int) -> Tensor:
    """NxLxL float32, the share of each cell of the decoder's logits that the object covers."""
    masks = np.stack([scenes.labels[scene] == target for scene, target in picks])
    return F.adaptive_avg_pool2d(torch.from_numpy(masks).float()[:, None], low_res_size)[:, 0]


def _crop(scenes: SceneArrays, scene: int) -> tuple[int, float, float]:
    """Side, left and top of CLIP's crop in the frame of `sam_pixels`."""
    height, width = (int(value) for value in scenes.sizes_hw[scene])
    side = min(height, width)
    return side, (width - side) / 2, (height - side) / 2


def _numbers(scenes: SceneArrays, pick: Pick) -> list[float]:
    scene, target = pick
    mask = scenes.labels[scene] == target
    side, left, top = _crop(scenes, scene)
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    x0, x1, y0, y1 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    red, green, blue = scenes.sam_pixels[scene, y0:y1, x0:x1][mask[y0:y1, x0:x1]].mean(0) / 255
    centre_xy = ((x0 + x1) / 2 - left) / side, ((y0 + y1) / 2 - top) / side
    return [*centre_xy, (x1 - x0) / side, (y1 - y0) / side, red, green, blue]


class GeometryTable:
    """Geometry of objects, measured when first asked for and remembered."""

    def __init__(self, scenes: SceneArrays) -> None:
        self._scenes = scenes
        self._known: dict[Pick, list[float]] = {}

    def __call__(self, picks: list[Pick]) -> Geometry:
        for pick in picks:
            if pick not in self._known:
                self._known[pick] = _numbers(self._scenes, pick)
        values = torch.tensor([self._known[pick] for pick in picks], dtype=torch.float32)
        return Geometry(centre_xy=values[:, :2], extent=values[:, 2:4], colour=values[:, 4:])


def patch_shares(scenes: SceneArrays, picks: list[Pick], grid: int) -> Tensor:
    """Nx(grid*grid) float32: which of CLIP's patches the object touches, of 2x2 samples in each, as shares."""
    samples = (np.arange(2 * grid) + 0.5) / (2 * grid)
    found = []
    for scene, target in picks:
        side, left, top = _crop(scenes, scene)
        rows, columns = ((offset + samples * side).astype(int) for offset in (top, left))
        found.append(scenes.labels[scene][np.ix_(rows, columns)] == target)
    return F.avg_pool2d(torch.from_numpy(np.stack(found)).float()[:, None], 2).flatten(1)
