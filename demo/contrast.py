"""Trains CLIP towers of the demo's sizes as CLIP is trained, scenes against captions alone, and a GLaMM on them.

    python -m demo.contrast --output build/contrast       # about 90 minutes on one core
    python jobs/similarity.py --model demo --clip build/contrast/clip …
    python jobs/evaluate.py --model build/contrast/checkpoint …

The shipped towers were taught what each of their patches shows as well (`demo.train_clip`); these show what is left of
that without. They are written in the form of a Hugging Face CLIP directory. SAM, the language model and
`text_hidden_fcs` begin as the shipped ones, the projector with the linear map that brings the new patches nearest to
the shipped ones; then all but CLIP is trained on masks. Run again, both go on: `--minutes 0` leaves the towers as they
are, `--model-minutes 0` trains no model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import sdpa_kernel

from litelvlm.added_tokens import ADDED_TOKENS
from litelvlm.checkpoint import DEMO_DIRECTORY
from litelvlm.clip_encoder import ClipEncoder
from litelvlm.demo.clip_directory import write_clip_directory
from litelvlm.demo.language import clip_patches
from litelvlm.demo.train import ATTENTION, TrainingPlan
from litelvlm.demo.train_clip import load_clip, train_clip
from litelvlm.demo.warm_start import FIT_SCENES, linear_fit, patches_to_fit, shipped_model, train_further
from litelvlm.glamm import GlammModel
from litelvlm.tokenizer import TOKENIZER_MODEL, GlammTokenizer


def train_towers(plan: TrainingPlan) -> ClipEncoder:
    """Trains towers for `plan.clip_minutes`, on from those that the directory holds; writes `clip/`."""
    directory = plan.directory
    start = load_clip(directory) if (directory / "clip.safetensors").is_file() else None
    minutes, seed = plan.clip_minutes, plan.seed
    with sdpa_kernel(ATTENTION):
        encoder = train_clip(plan.scenes, directory, minutes=minutes, seed=seed, contrastive=True, start=start)
    (directory / "features.npy").unlink(missing_ok=True)  # of the towers as they were
    print(f"towers: {write_clip_directory(encoder, directory / 'clip_merges.txt', directory / 'clip')}", flush=True)
    return encoder


def warm_start(clip: ClipEncoder, patches: Tensor, shipped_patches: Tensor) -> GlammModel:
    """The shipped GLaMM on other towers.

    Args:
        clip: these towers.
        patches: NxD float32, theirs.
        shipped_patches: NxD float32, the shipped towers' at the same places.
    """
    model = shipped_model()
    weight, bias = linear_fit(patches, shipped_patches)
    first = model.get_submodule("projector.0")
    assert isinstance(first, nn.Linear), "GLaMM's projector has two layers"
    with torch.no_grad():
        first.bias.add_(first.weight @ bias)
        first.weight.copy_(first.weight @ weight)
    model.clip = clip
    return model


def train_model(plan: TrainingPlan, clip: ClipEncoder) -> Path:
    """Trains a GLaMM on the towers for `plan.joint_minutes`; returns the checkpoint's directory."""
    directory, scenes = plan.directory, plan.scenes
    (directory / "tokenizer").mkdir(exist_ok=True)
    for name in (TOKENIZER_MODEL, ADDED_TOKENS):
        (directory / "tokenizer" / name).write_bytes((DEMO_DIRECTORY / name).read_bytes())
    features = clip_patches(clip, scenes, min(plan.num_feature_scenes, len(scenes)), directory / "features.npy")
    theirs = clip_patches(shipped_model().clip, scenes, min(FIT_SCENES, len(features)), directory / "shipped.npy")
    model = warm_start(clip, patches_to_fit(features), patches_to_fit(theirs))
    return train_further(plan, model, features, GlammTokenizer(directory / "tokenizer"), curve="contrast_model")


def main(arguments: list[str] | None = None) -> int:
    """Trains and writes; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="for scenes (4 GB), curves, towers, checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=40, help="of the towers, after the scenes are there")
    parser.add_argument("--model-minutes", type=float, default=40, help="of the model on them")
    parser.add_argument("--scenes", type=int, default=16_000, help="to train on")
    options = parser.parse_args(arguments)
    if options.scenes < 1000 or min(options.minutes, options.model_minutes) < 0:
        parser.error("--minutes and --model-minutes must not be below 0, --scenes at least 1000")
    plan = TrainingPlan(
        directory=options.output,
        num_scenes=options.scenes,
        num_feature_scenes=options.scenes,
        clip_minutes=options.minutes,
        joint_minutes=options.model_minutes,
        seed=options.seed,
        threads=options.threads,
        source="demo/contrast.py",
    )
    torch.set_num_threads(plan.threads)
    if not plan.clip_minutes and not (plan.directory / "clip.safetensors").is_file():
        parser.error(f"--minutes 0: {plan.directory} holds no towers to leave as they are")
    clip = train_towers(plan) if plan.clip_minutes else load_clip(plan.directory)
    if plan.joint_minutes:
        print(f"checkpoint: {train_model(plan, clip)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
