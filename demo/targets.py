"""What a phrase's object looks like to the trainer: its mask at the decoder's resolution, and its place.

Places are in CLIP's crop, from 0 to 1, because the crop is all that the language model sees: in a wide image it cannot
know where the crop lies within the whole, and the grounding encoder, which can, has to translate.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from litelvlm.demo.rendering import SceneArrays

Pick = tuple[int, int]  # index of a scene, index of an object in it


def low_res_masks(scenes: SceneArrays, picks: list[Pick], low_res_size: int) -> Tensor:
    """NxLxL float32, the share of each cell of the decoder's logits that the object covers."""
    masks = np.stack([scenes.labels[scene] == target for scene, target in picks])
    return F.adaptive_avg_pool2d(torch.from_numpy(masks).float()[:, None], low_res_size)[:, 0]


def _crop(scenes: SceneArrays, scene: int) -> tuple[int, float, float]:
    """Side, left and top of CLIP's crop in the frame of `sam_pixels`."""
    height, width = (int(value) for value in scenes.sizes_hw[scene])
    side = min(height, width)
    return side, (width - side) / 2, (height - side) / 2


class Centres:
    """Centres of objects' visible parts, measured when first asked for and remembered."""

    def __init__(self, scenes: SceneArrays) -> None:
        self._scenes = scenes
        self._known: dict[Pick, tuple[float, float]] = {}

    def __call__(self, picks: list[Pick]) -> Tensor:
        """Of N objects, Nx2: x and y of the middle of the bounding box in CLIP's crop, from 0 to 1."""
        for pick in picks:
            if pick not in self._known:
                self._known[pick] = _centre_xy(self._scenes, pick)
        return torch.tensor([self._known[pick] for pick in picks], dtype=torch.float32)


def _centre_xy(scenes: SceneArrays, pick: Pick) -> tuple[float, float]:
    scene, target = pick
    mask = scenes.labels[scene] == target
    side, left, top = _crop(scenes, scene)
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    x, y = ((places[0] + places[-1] + 1) / 2 for places in (columns, rows))
    return (x - left) / side, (y - top) / side


def patch_shares(scenes: SceneArrays, picks: list[Pick], grid: int) -> Tensor:
    """Nx(grid*grid) float32: which of CLIP's patches the object touches, of 2x2 samples in each, as shares."""
    samples = (np.arange(2 * grid) + 0.5) / (2 * grid)
    found = []
    for scene, target in picks:
        side, left, top = _crop(scenes, scene)
        rows, columns = ((offset + samples * side).astype(int) for offset in (top, left))
        found.append(scenes.labels[scene][np.ix_(rows, columns)] == target)
    return F.avg_pool2d(torch.from_numpy(np.stack(found)).float()[:, None], 2).flatten(1)
