"""What each CLIP patch shows: labels and auxiliary heads that make the tiny towers' patch tokens know place and shape.

Real CLIP learns this from hundreds of millions of images. Trained for minutes on a contrastive loss alone, the demo's
patch tokens knew colours and hardly anything else (linear probe: shapes at chance), and the language model did not
learn to locate anything. The heads are thrown away after training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from litelvlm.demo.objects import COLOURS, SHAPES, SIZES
from litelvlm.demo.rendering import BACKGROUND, SceneArrays

_SAMPLES = 4  # label samples along a patch's side
_MAX_OBJECTS = 6
_VOCABULARIES = (tuple(SIZES), tuple(COLOURS), tuple(SHAPES))


@dataclass(frozen=True, kw_only=True)
class PatchLabels:
    """Labels of the patches of B scenes on a GxG grid, V = G*G.

    Attributes:
        shown: BxV bool, whether most of the patch is one object.
        words: BxVx3 int64, indices of the object's size, colour and shape; 0 where nothing is shown.
        offset: BxVx2, from the patch to the centre of the object's visible part, in sides of the crop.
    """

    shown: Tensor
    words: Tensor
    offset: Tensor


def label_patches(scenes: SceneArrays, chosen: np.ndarray, grid: int) -> PatchLabels:
    """Labels of scenes in CLIP's crop."""
    shown, words, offsets = [], [], []
    for index in chosen:
        height, width = (int(value) for value in scenes.sizes_hw[index])
        short = min(height, width)
        place = ((np.arange(grid * _SAMPLES) + 0.5) * short / (grid * _SAMPLES)).astype(int)
        labels = scenes.labels[index][np.ix_(place + (height - short) // 2, place + (width - short) // 2)]
        counts = np.stack([labels == k for k in range(_MAX_OBJECTS)])
        counts = counts.reshape(_MAX_OBJECTS, grid, _SAMPLES, grid, _SAMPLES).sum((2, 4)).reshape(_MAX_OBJECTS, -1)
        own = counts.argmax(0)
        visible = counts.max(0) * 2 >= _SAMPLES * _SAMPLES
        table = [
            [v.index(w) for v, w in zip(_VOCABULARIES, text.split(), strict=True)]
            for text in scenes.descriptions[index]
        ]
        table += [[0, 0, 0]] * (_MAX_OBJECTS - len(table))
        centres = np.array([_centre(labels == k) for k in range(_MAX_OBJECTS)])
        rows, columns = np.divmod(np.arange(grid * grid), grid)
        patches = np.stack([columns + 0.5, rows + 0.5], 1) / grid
        shown.append(visible)
        words.append(np.array(table)[own] * visible[:, None])
        offsets.append((centres[own] - patches) * visible[:, None])
    assert BACKGROUND >= _MAX_OBJECTS
    return PatchLabels(
        shown=torch.from_numpy(np.stack(shown)),
        words=torch.from_numpy(np.stack(words)),
        offset=torch.from_numpy(np.stack(offsets)).float(),
    )


def _centre(mask: np.ndarray) -> tuple[float, float]:
    """Mean x and y of a square mask in sides of the square; 0.5 where it is empty."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return 0.5, 0.5
    return (columns.mean() + 0.5) / mask.shape[1], (rows.mean() + 0.5) / mask.shape[0]


class DenseHeads(nn.Module):
    """Linear heads on patch tokens, and their loss."""

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.sizes = [1, *(len(vocabulary) for vocabulary in _VOCABULARIES), 2, grid, grid]
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sum(self.sizes)))

    def forward(self, patches: Tensor, labels: PatchLabels) -> dict[str, Tensor]:
        """Losses of BxVxD patch tokens; `shape_accuracy` is for the log."""
        shown, size, colour, shape, offset, row, column = self.layers(patches).float().split(self.sizes, dim=-1)
        seen = labels.shown
        words = [
            F.cross_entropy(logits[seen], labels.words[..., k][seen]) for k, logits in enumerate((size, colour, shape))
        ]
        index = torch.arange(self.grid * self.grid).expand(len(patches), -1)
        places = [
            F.cross_entropy(logits.flatten(0, 1), target.flatten())
            for logits, target in ((row, index // self.grid), (column, index % self.grid))
        ]
        return {
            "shown": F.binary_cross_entropy_with_logits(shown[..., 0], seen.float()),
            "words": torch.stack(words).sum(),
            "offset": F.smooth_l1_loss(offset[seen], labels.offset[seen], beta=0.05),
            "place": torch.stack(places).sum(),
            "shape_accuracy": (shape[seen].argmax(-1) == labels.words[..., 2][seen]).float().mean(),
        }
