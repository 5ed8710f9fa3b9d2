"""Towers that are written are the towers that `--clip` reads."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from litelvlm.checkpoint import CLIP_MERGES, DEMO_DIRECTORY, open_checkpoint, open_towers
from litelvlm.demo.clip_directory import write_clip_directory
from litelvlm.loading import load_clip


def test_there_and_back(tmp_path: Path) -> None:
    device = torch.device("cpu")
    towers = load_clip(open_checkpoint(DEMO_DIRECTORY), device, torch.float32)
    output = write_clip_directory(towers, DEMO_DIRECTORY / CLIP_MERGES, tmp_path / "clip")
    found = open_towers("demo", output)
    assert found.config.clip == open_checkpoint(DEMO_DIRECTORY).config.clip
    assert found.clip_merges == output / "merges.txt"
    read = load_clip(found, device, torch.float32).state_dict()
    assert all(torch.equal(value, read[name]) for name, value in towers.state_dict().items())
    names = json.loads((output / "config.json").read_text())
    assert names["vision_config"]["hidden_act"] == ("quick_gelu" if towers.sizes.quick_gelu else "gelu")
