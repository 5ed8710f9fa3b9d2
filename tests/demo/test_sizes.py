"""The demo's sizes are those of the checkpoint that ships."""

from __future__ import annotations

from litelvlm.checkpoint import DEMO_DIRECTORY, open_checkpoint
from litelvlm.config import ScoreCalibration
from litelvlm.demo.sizes import demo_config
from litelvlm.tokenizer import GlammTokenizer


def test_the_shipped_checkpoint_has_these_sizes(tokenizer: GlammTokenizer) -> None:
    shipped = open_checkpoint(DEMO_DIRECTORY).config
    assert demo_config(tokenizer, shipped.calibration) == shipped
    assert demo_config(tokenizer).calibration == ScoreCalibration()
    assert (shipped.num_visual_tokens, shipped.sam.low_res_size) == (144, 64)
