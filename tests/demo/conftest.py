"""Drawn scenes as the trainer reads them, and a directory as its stages leave it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from litelvlm.checkpoint import CLIP_MERGES, DEMO_DIRECTORY
from litelvlm.demo import schedule
from litelvlm.demo.language import LanguageHeads
from litelvlm.demo.oracle import OraclePrompt
from litelvlm.demo.rendering import SceneArrays, render_scenes
from litelvlm.demo.sizes import SAM_SIZES
from litelvlm.tokenizer import GlammTokenizer
from tests.demo.samples import NUM_SCENES


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Steps as small as these are slower on several threads, which meet at a barrier in every operation."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def every_step_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No warm-up, a line in the curve for every step, and float32, since many CPUs emulate bfloat16."""
    for name in ("WARM_UP_STEPS", "LOG_STEPS"):
        monkeypatch.setattr(schedule, name, 1)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> SceneArrays:
    """Rendered training scenes."""
    return render_scenes(tmp_path_factory.mktemp("scenes"), 0, NUM_SCENES, workers=1)


@pytest.fixture(scope="session")
def tokenizer() -> GlammTokenizer:
    """The demo's."""
    return GlammTokenizer(DEMO_DIRECTORY)


@pytest.fixture
def training_directory(tmp_path: Path) -> Path:
    """What stages 1, 2a and 2b leave, with the shipped checkpoint's weights and fresh auxiliary heads."""
    state = {name: value.float() for name, value in load_file(DEMO_DIRECTORY / "model.safetensors").items()}
    extras: dict[str, nn.Module] = {"oracle": OraclePrompt(SAM_SIZES.output_channels), "heads": LanguageHeads(160, 144)}
    for name, module in extras.items():
        state |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    stages = {"clip": ("clip",), "masks": ("grounding_encoder", "oracle")}
    stages["language"] = ("projector", "llm", "text_hidden_fcs", "heads")
    for stage, parts in stages.items():
        own = {name: value for name, value in state.items() if name.split(".")[0] in parts}
        if stage == "clip":
            own = {name.removeprefix("clip."): value for name, value in own.items()}
        save_file(own, tmp_path / f"{stage}.safetensors")
    (tmp_path / "tokenizer").mkdir()
    for name in ("tokenizer.model", "added_tokens.json"):
        shutil.copy(DEMO_DIRECTORY / name, tmp_path / "tokenizer")
    shutil.copy(DEMO_DIRECTORY / CLIP_MERGES, tmp_path / "clip_merges.txt")
    return tmp_path
