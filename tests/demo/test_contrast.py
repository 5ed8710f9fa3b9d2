"""The command that trains towers as CLIP is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from litelvlm.checkpoint import CLIP_MERGES, DEMO_DIRECTORY, open_checkpoint, open_towers
from litelvlm.clip_encoder import ClipEncoder
from litelvlm.demo import contrast
from litelvlm.demo.train_clip import save_clip, write_merges
from litelvlm.loading import load_clip


def test_what_is_trained_is_written_as_a_clip_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    towers = load_clip(open_checkpoint(DEMO_DIRECTORY), torch.device("cpu"), torch.float32)

    def train(scenes: object, directory: Path, **how: Any) -> ClipEncoder:
        asked.update(how)
        write_merges(directory / CLIP_MERGES)
        save_clip(towers, directory)
        return towers

    monkeypatch.setattr(contrast, "train_clip", train)
    monkeypatch.setattr(contrast, "render_scenes", lambda directory, first, count: asked.update(count=count))
    assert contrast.main(["--output", str(tmp_path), "--minutes", "3", "--scenes", "2000"]) == 0
    assert asked == {"count": 2000, "minutes": 3, "seed": 0, "contrastive": True, "start": None}
    assert open_towers("demo", tmp_path / "clip").config.clip == towers.sizes
    assert contrast.main(["--output", str(tmp_path), "--minutes", "3", "--scenes", "2000", "--seed", "1"]) == 0
    assert asked["seed"] == 1
    assert torch.equal(asked["start"].clip.visual.proj, towers.clip.visual.proj)


@pytest.mark.parametrize("flags", [["--minutes", "0"], ["--scenes", "10"]])
def test_too_little_is_refused(tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        contrast.main(["--output", str(tmp_path), *flags])
    assert "at least 1000" in capsys.readouterr().err
