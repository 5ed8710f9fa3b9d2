"""Where a phrase's object is, at the decoder's resolution and in CLIP's crop."""

from __future__ import annotations

import pytest
import torch

from litelvlm.demo.rendering import SceneArrays
from litelvlm.demo.targets import Centres, low_res_masks, patch_shares
from tests.demo.samples import wide_scene

BOTH = [(0, 0), (0, 1)]


def test_places_in_the_crop_of_a_wide_scene() -> None:
    assert Centres(wide_scene())(BOTH).tolist() == [[0.125, 0.125], [0.75, 0.75]]
    shares = patch_shares(wide_scene(), BOTH, 4)
    assert shares[0].nonzero()[:, 0].tolist() == [0]
    assert shares[1].view(4, 4).tolist() == [[0] * 4, [0] * 4, [0, 0, 1, 1], [0, 0, 1, 1]]
    assert patch_shares(wide_scene(), BOTH[:1], 2).tolist() == [[0.25, 0, 0, 0]]


def test_masks_are_shares_of_the_decoders_cells() -> None:
    masks = low_res_masks(wide_scene(), BOTH, 4)  # cells of 16x16 pixels
    assert masks[0].tolist() == [[12 * 8 / 256, 12 * 4 / 256, 0, 0], [0] * 4, [0] * 4, [0] * 4]
    assert masks[1].tolist() == [[0] * 4, [0, 0, 0.5, 0.25], [0, 0, 1, 0.5], [0] * 4]


def test_rendered_targets_agree_with_the_scene(scenes: SceneArrays) -> None:
    picks = [(scene, target) for scene in range(4) for target in range(len(scenes.descriptions[scene]))]
    shares = patch_shares(scenes, picks, 12)
    masks = low_res_masks(scenes, picks, 64)
    centre = Centres(scenes)(picks)
    cells = (torch.arange(12) + 0.5) / 12
    for index, (scene, target) in enumerate(picks):
        assert (masks[index] > 0.5).sum() == pytest.approx((scenes.labels[scene] == target).sum() / 9, rel=0.2)
        by_patch = shares[index].view(12, 12)
        seen = torch.stack([(by_patch.sum(0) * cells).sum(), (by_patch.sum(1) * cells).sum()]) / by_patch.sum()
        assert (seen - centre[index]).abs().max() < 0.08
