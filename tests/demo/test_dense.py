"""What each patch of a scene shows, and the loss of heads that say so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from litelvlm.demo.dense import DenseHeads, PatchLabels, label_patches
from litelvlm.demo.objects import COLOURS, SHAPES, SIZES
from tests.demo.samples import wide_scene

GRID = 4
VOCABULARIES = (list(SIZES), list(COLOURS), list(SHAPES))


def _labels() -> PatchLabels:
    return label_patches(wide_scene(), np.array([0, 0]), GRID)


def test_patches_are_labelled_with_the_object_on_them() -> None:
    labels = _labels()
    assert labels.shown[1].nonzero()[:, 0].tolist() == [0, 10, 11, 14, 15]
    for patch, text in ((0, "small red circle"), (15, "large blue square")):
        assert [v[i] for v, i in zip(VOCABULARIES, labels.words[1, patch].tolist(), strict=True)] == text.split()
    assert labels.words[1, 5].tolist() == [0, 0, 0]
    # The square's centre is at 3/4 of the crop both ways, that of patch 10 at 5/8, that of patch 15 at 7/8.
    assert labels.offset[1, [0, 10, 15, 5]].tolist() == [[0, 0], [0.125, 0.125], [-0.125, -0.125], [0, 0]]


def _said(labels: PatchLabels, *, sure: float) -> Tensor:
    """Logits side by side, as the heads' layers give them, of one that knows everything."""
    index = torch.arange(GRID * GRID).expand(2, -1)
    classes = [*labels.words.unbind(-1), index // GRID, index % GRID]
    sizes = [*map(len, VOCABULARIES), GRID, GRID]
    words = [sure * F.one_hot(one, size) for one, size in zip(classes, sizes, strict=True)]
    shown = sure * (2 * labels.shown.float() - 1)[..., None]
    return torch.cat([shown, *words[:3], labels.offset, *words[3:]], dim=-1)


def test_who_knows_everything_loses_nothing() -> None:
    labels, heads = _labels(), DenseHeads(8, GRID)
    heads.layers = nn.Sequential()
    losses = heads(_said(labels, sure=20), labels)
    assert losses.pop("shape_accuracy") == 1
    assert torch.stack(list(losses.values())).max() < 1e-6
    ignorant = heads(_said(labels, sure=0), labels)
    chances = [np.log(len(vocabulary)) for vocabulary in VOCABULARIES]
    assert float(ignorant["words"]) == pytest.approx(sum(chances))
    assert float(ignorant["place"]) == pytest.approx(2 * np.log(GRID))
    assert float(ignorant["shown"]) == pytest.approx(np.log(2))


def test_the_heads_learn_from_their_loss() -> None:
    torch.manual_seed(0)
    labels, heads = _labels(), DenseHeads(8, GRID)
    losses = heads(torch.randn(2, GRID * GRID, 8), labels)
    losses.pop("shape_accuracy")
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in heads.parameters())
