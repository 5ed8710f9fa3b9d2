"""Rendered scenes are the drawn ones, and are rendered once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from litelvlm.demo.phrases import list_expressions
from litelvlm.demo.rendering import BACKGROUND, SceneArrays, render_scenes
from litelvlm.demo.scenes import draw_scene


def test_rendered_scenes_are_the_drawn_ones(scenes: SceneArrays) -> None:
    for seed in range(len(scenes)):
        scene = draw_scene(seed)
        height, width = (int(value) for value in scenes.sizes_hw[seed])
        assert max(height, width) == 192
        assert scenes.expressions[seed] == [(one.text, one.target) for one in list_expressions(scene.objects)]
        assert scenes.descriptions[seed] == [f"{one.size} {one.colour} {one.shape}" for one in scene.objects]
        labels = scenes.labels[seed]
        assert (labels[height:] == BACKGROUND).all()
        assert (labels[:, width:] == BACKGROUND).all()
        assert not scenes.sam_pixels[seed, height:].any()
        for index, mask in enumerate(scene.object_masks):
            own = labels == index
            assert abs(own[:height, :width].mean() / mask.mean() - 1) < 0.1
            colours = scenes.sam_pixels[seed][own].mean(axis=0), scene.image[mask].mean(axis=0)
            assert np.abs(colours[0] - colours[1]).max() < 16  # outlines blend


def test_what_is_rendered_is_opened_again(tmp_path: Path, scenes: SceneArrays) -> None:
    first = render_scenes(tmp_path, 2, 2, workers=1)
    assert np.array_equal(first.labels, scenes.labels[2:4])
    assert np.array_equal(first.clip_pixels, scenes.clip_pixels[2:4])
    again = render_scenes(tmp_path, 0, 9)  # what is there counts
    assert (len(again), again.expressions) == (2, first.expressions)
