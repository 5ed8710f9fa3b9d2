"""What formulations race on fills the model and is the same every time."""

from __future__ import annotations

import torch

from litelvlm import Annotator
from litelvlm.engine.race_inputs import race_clip_pixels, race_pixels, race_prompts


def test_pixels(demo_annotator: Annotator) -> None:
    size = demo_annotator.config.sam.image_size
    pixels = race_pixels(demo_annotator.model)
    assert pixels.shape == (8, 3, size, size)
    assert torch.equal(pixels, race_pixels(demo_annotator.model))
    assert 0.9 < pixels.std() < 1.1
    size = demo_annotator.config.clip.image_size
    assert race_clip_pixels(demo_annotator.model).shape == (16, 3, size, size)


def test_prompts_with_and_without_branches(demo_annotator: Annotator) -> None:
    (plain, branched), prefix = race_prompts(demo_annotator.model)
    assert prefix.max() < demo_annotator.config.llm.vocab_size
    assert plain.branches is None
    assert branched.branches is not None
    assert branched.branches.max() == 3
    for packed in (plain, branched):
        assert 2000 < len(packed.embeds) < 5000
        assert torch.isfinite(packed.embeds).all()
        assert len(packed.read) == packed.num_rows * packed.num_slots
    again, _ = race_prompts(demo_annotator.model)
    assert torch.equal(again[1].embeds, branched.embeds)
