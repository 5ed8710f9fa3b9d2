"""Other CLIP towers in the place of a checkpoint's own."""

from __future__ import annotations

import pytest

from litelvlm.evaluation.similarity.towers import Towers
from litelvlm.patch_similarity import PatchSimilarity
from litelvlm.pipeline.config import ModelConfig
from tests.parity.fixtures import CLIP_TINY


def test_another_clip_stands_in_for_that_of_a_converted_checkpoint() -> None:
    own, other = (Towers(model=ModelConfig(model="demo", clip=clip)) for clip in (None, str(CLIP_TINY)))
    assert own.revision() != other.revision()
    assert (own.num_visual_tokens(), other.num_visual_tokens()) == (144, 64)
    assert other.preprocessor().config.clip.image_size == 112
    assert own.template() == other.template()
    assert other.check() == []
    towers = PatchSimilarity.from_pretrained("demo", CLIP_TINY)
    assert towers.checkpoint.config == other.preprocessor().config


def test_a_directory_without_towers_is_told() -> None:
    with pytest.raises(FileNotFoundError, match="clip: no such directory"):
        Towers(model=ModelConfig(model="demo", clip="/nowhere")).revision()
