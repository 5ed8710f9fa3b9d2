"""From trained weights to a checkpoint directory that `litelvlm` loads."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from litelvlm.checkpoint import CLIP_MERGES
from litelvlm.config import ScoreCalibration
from litelvlm.convert import write_converted
from litelvlm.demo.sizes import demo_config
from litelvlm.demo.train_clip import load_clip
from litelvlm.glamm import GlammModel
from litelvlm.models.description import ModelDescription
from litelvlm.models.glamm import GLAMM
from litelvlm.tokenizer import GlammTokenizer


def assemble(
    directory: Path, calibration: ScoreCalibration | None = None, description: ModelDescription = GLAMM
) -> GlammModel:
    """The model with the newest weights of each part in a training directory.

    Args:
        directory: where the stages left `clip.safetensors`, `masks.safetensors`, `language.safetensors` and, once there
            is one, `joint.safetensors`.
        calibration: coefficients of the confidence score.
        description: which model it is.
    """
    model = GlammModel(demo_config(GlammTokenizer(directory / "tokenizer", description), calibration))
    model.clip = load_clip(directory)
    weights: dict[str, torch.Tensor] = {}
    for stage in ("masks", "language", "joint"):
        if (directory / f"{stage}.safetensors").is_file():
            weights |= load_file(directory / f"{stage}.safetensors")
    own = {name: value for name, value in weights.items() if name.split(".")[0] not in ("oracle", "heads")}
    missing, unexpected = model.load_state_dict(own, strict=False)
    missing = [name for name in missing if not name.startswith("clip.")]
    if missing or unexpected:
        raise ValueError(f"{directory}: weights do not fit, {len(missing)} missing, {len(unexpected)} unexpected")
    return model.requires_grad_(False).eval()


def export(
    directory: Path,
    output: Path,
    *,
    calibration: ScoreCalibration | None = None,
    description: ModelDescription = GLAMM,
    source: str = "demo/train.py",
) -> Path:
    """Writes the checkpoint, weights in float16, replacing what is at `output`; `source` says what trained it."""
    model = assemble(directory, calibration, description).half()
    files = {
        "tokenizer.model": directory / "tokenizer" / "tokenizer.model",
        "added_tokens.json": directory / "tokenizer" / "added_tokens.json",
        CLIP_MERGES: directory / "clip_merges.txt",
    }
    if output.exists():
        shutil.rmtree(output)
    return write_converted(model, output, files=files, source=source)
