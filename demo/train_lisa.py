"""Trains a small LISA from the shipped small GLaMM: LISA's projector, added tokens, questions and answers.

    python -m demo.train_lisa --output build/demo-lisa    # about 30 minutes on one core
    python jobs/evaluate.py --model build/demo-lisa/checkpoint …

CLIP, SAM, the language model and `text_hidden_fcs` begin as the shipped ones; the projector, a single layer, as the
best linear fit to GLaMM's two. Then all but CLIP is trained on masks, a conversation a phrase, as LISA is. Run again,
it goes on with the weights that it left.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.attention import sdpa_kernel

from litelvlm.checkpoint import CLIP_MERGES, DEMO_DIRECTORY, open_checkpoint
from litelvlm.demo.corpus import LISA_TEMPLATES
from litelvlm.demo.language import LanguageHeads, LanguageSide, clip_patches
from litelvlm.demo.schedule import Training
from litelvlm.demo.sizes import demo_config
from litelvlm.demo.train import ATTENTION, TrainingPlan, finish, save_stage
from litelvlm.demo.train_joint import train_joint
from litelvlm.glamm import GlammModel
from litelvlm.loading import load_model
from litelvlm.models.lisa import LISA
from litelvlm.tokenizer import TOKENIZER_MODEL, GlammTokenizer

RATE = 5e-4  # below that of `train_joint`, which begins with less
_FIT_SCENES = 400


def write_tokenizer(directory: Path) -> GlammTokenizer:
    """The demo's sentencepiece model with LISA's added tokens, in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(DEMO_DIRECTORY / TOKENIZER_MODEL, directory)
    size = GlammTokenizer(DEMO_DIRECTORY).token_id("<im_start>")  # GLaMM's added tokens begin with it
    added = {token: size + index for index, token in enumerate(LISA.added_tokens)}
    (directory / "added_tokens.json").write_text(json.dumps(added, indent=1) + "\n", encoding="utf-8")
    return GlammTokenizer(directory, LISA)


def warm_start(tokenizer: GlammTokenizer, patches: Tensor) -> GlammModel:
    """A LISA with the shipped GLaMM's weights.

    Args:
        tokenizer: LISA's.
        patches: NxD float32, CLIP's patches that the projector is fitted on.
    """
    shipped = load_model(open_checkpoint(DEMO_DIRECTORY), torch.device("cpu"), torch.float32)
    model = GlammModel(demo_config(tokenizer))
    own = shipped.state_dict()
    table = own.pop("llm.embed_tokens.weight")
    state = {name: value for name, value in own.items() if not name.startswith("projector.")}
    state["llm.embed_tokens.weight"] = _embeddings(table, tokenizer)
    with torch.inference_mode():
        state |= _linear_fit(patches, shipped.projector)
    model.load_state_dict(state)
    return model


def _embeddings(table: Tensor, tokenizer: GlammTokenizer) -> Tensor:
    """Rows of GLaMM's embeddings at LISA's ids."""
    theirs = GlammTokenizer(DEMO_DIRECTORY)
    rows = list(range(tokenizer.vocab_size))
    for token in LISA.added_tokens:
        rows[tokenizer.token_id(token)] = theirs.token_id(token)
    return table[rows]


def _linear_fit(patches: Tensor, projector: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Weight and bias of the layer that is nearest to `projector` on NxD patches, by least squares."""
    inputs = torch.cat([patches, torch.ones(len(patches), 1)], dim=1)
    solution = torch.linalg.lstsq(inputs, projector(patches)).solution
    return {"projector.weight": solution[:-1].T.contiguous(), "projector.bias": solution[-1].contiguous()}


def train_lisa(plan: TrainingPlan) -> Path:
    """Trains for `plan.joint_minutes`, calibrates and exports; returns the checkpoint's directory."""
    directory = plan.directory
    directory.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    tokenizer, scenes = write_tokenizer(directory / "tokenizer"), plan.scenes
    shutil.copy(DEMO_DIRECTORY / CLIP_MERGES, directory)
    shipped = load_model(open_checkpoint(DEMO_DIRECTORY), torch.device("cpu"), torch.float32)
    features = clip_patches(shipped.clip, scenes, min(plan.num_feature_scenes, len(scenes)), directory / "features.npy")
    save_file(
        {name: value.contiguous() for name, value in shipped.clip.state_dict().items()}, directory / "clip.safetensors"
    )
    fitted_on = torch.from_numpy(np.array(features[:_FIT_SCENES])).float().flatten(0, 1)
    model = warm_start(tokenizer, fitted_on).requires_grad_(True)
    sizes = model.config
    heads = LanguageHeads(sizes.llm.hidden_size, sizes.num_visual_tokens)
    _go_on(model, heads, directory / "joint.safetensors")
    rng = np.random.default_rng(plan.seed)
    side = LanguageSide(model, heads, features, tokenizer, rng, templates=LISA_TEMPLATES, rounds_share=0)

    def save() -> None:
        state = {name: value for name, value in model.state_dict().items() if not name.startswith("clip.")}
        save_stage(state | {f"heads.{name}": value for name, value in heads.state_dict().items()}, plan, "joint")

    training = Training("lisa", directory / "joint.csv", minutes=plan.joint_minutes, save=save)
    with sdpa_kernel(ATTENTION):
        train_joint(side, scenes, training, seed=plan.seed, rate=RATE)
    return finish(plan)


def _go_on(model: GlammModel, heads: LanguageHeads, path: Path) -> None:
    """Loads what an earlier run left, if there is anything."""
    if path.is_file():
        weights = load_file(path)
        own = {name.removeprefix("heads."): value for name, value in weights.items() if name.startswith("heads.")}
        heads.load_state_dict(own)
        model.load_state_dict({name: weights[name] for name in weights if name.split(".")[0] != "heads"}, strict=False)


def main(arguments: list[str] | None = None) -> int:
    """Trains; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="for scenes (4 GB), weights, curve, checkpoint")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=25, help="of training, after scenes and features are there")
    parser.add_argument("--scenes", type=int, default=16_000, help="to train on")
    options = parser.parse_args(arguments)
    if options.minutes <= 0 or options.scenes < 1000:
        parser.error("--minutes must be above 0, --scenes at least 1000")
    plan = TrainingPlan(directory=options.output, seed=options.seed, threads=options.threads, description=LISA)
    plan = replace(plan, num_scenes=options.scenes, num_feature_scenes=options.scenes, joint_minutes=options.minutes)
    print(f"checkpoint: {train_lisa(plan)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
