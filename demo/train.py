"""Trains the small checkpoint that ships with litelvlm, from drawn scenes to an exported directory.

    python -m demo.train --output build/demo            # about 80 minutes on 2 cores
    python -m demo.train --output build/demo --share 0.05   # a run-through of all stages

Stages, each skipped if the output directory says that it is done, so that an interrupted run goes on with the next:
scenes, tokeniser, CLIP and (beside it) the grounding encoder with an oracle's prompts, the language model on frozen
CLIP features, all but CLIP on masks, calibration and export to `checkpoint/`.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from litelvlm import Annotator, PruningConfig
from litelvlm.demo.calibrate import fit_calibration
from litelvlm.demo.corpus import train_tokenizer
from litelvlm.demo.export import assemble, export
from litelvlm.demo.language import LanguageHeads, LanguageSide, clip_patches
from litelvlm.demo.oracle import OraclePrompt
from litelvlm.demo.plot import plot_curves
from litelvlm.demo.rendering import SceneArrays, render_scenes
from litelvlm.demo.schedule import Training
from litelvlm.demo.scoring import VALIDATION_SEED, scenes_from, score_scenes
from litelvlm.demo.sizes import SAM_SIZES, demo_config
from litelvlm.demo.team import Team, run_team
from litelvlm.demo.train_clip import load_clip, train_clip
from litelvlm.demo.train_joint import train_joint
from litelvlm.demo.train_language import train_language
from litelvlm.demo.train_masks import initialize, train_masks
from litelvlm.glamm import GlammModel
from litelvlm.grounding_encoder import GroundingEncoder
from litelvlm.models.description import ModelDescription
from litelvlm.models.glamm import GLAMM
from litelvlm.tokenizer import GlammTokenizer

ATTENTION = SDPBackend.MATH  # on a CPU the backward pass of the fused kernel is the slower one for unmasked attention
PARTS_OF_LANGUAGE = ("projector", "llm", "text_hidden_fcs")


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How long and on what to train. Stages are bounded by time, so results depend on the machine's speed."""

    directory: Path
    num_scenes: int = 36_000
    num_feature_scenes: int = 24_000
    num_validation_scenes: int = 300
    clip_minutes: float = 30
    masks_minutes: float = 29
    language_minutes: float = 20
    joint_minutes: float = 15
    seed: int = 0
    threads: int = 2
    description: ModelDescription = GLAMM
    source: str = "demo/train.py"

    @property
    def scenes(self) -> SceneArrays:
        return render_scenes(self.directory / "scenes", 0, self.num_scenes)

    @property
    def tokenizer(self) -> GlammTokenizer:
        return GlammTokenizer(self.directory / "tokenizer", self.description)


def _clip_stage(plan: TrainingPlan) -> None:
    torch.set_num_threads(max(1, plan.threads // 2))
    with sdpa_kernel(ATTENTION):
        train_clip(plan.scenes, plan.directory, minutes=plan.clip_minutes, seed=plan.seed)


def _masks_stage(plan: TrainingPlan) -> None:
    torch.set_num_threads(max(1, plan.threads // 2))
    torch.manual_seed(plan.seed)
    grounding, oracle = GroundingEncoder(SAM_SIZES), OraclePrompt(SAM_SIZES.output_channels)
    initialize(grounding)
    training = Training("masks", plan.directory / "masks.csv", minutes=plan.masks_minutes)
    with sdpa_kernel(ATTENTION):
        train_masks(grounding, oracle, plan.scenes, training, seed=plan.seed)
    both = nn.ModuleDict({"grounding_encoder": grounding, "oracle": oracle})
    save_stage(both.state_dict(), plan, "masks")


def save_stage(state: dict[str, torch.Tensor], plan: TrainingPlan, stage: str) -> None:
    """Writes a stage's weights; the file appears only once it is complete."""
    path = plan.directory / f"{stage}.safetensors"
    scratch = path.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in state.items()}, scratch)
    scratch.rename(path)


def _done(plan: TrainingPlan, stage: str) -> bool:
    return (plan.directory / f"{stage}.done").is_file()


def _mark(plan: TrainingPlan, stage: str) -> None:
    (plan.directory / f"{stage}.done").touch()


def _encoder_stages(plan: TrainingPlan) -> None:
    """CLIP and the grounding encoder do not need each other: a process and half of the threads each."""
    stages = {name: run for name, run in (("clip", _clip_stage), ("masks", _masks_stage)) if not _done(plan, name)}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        running = {name: pool.submit(run, plan) for name, run in stages.items()}
        for name, future in running.items():
            future.result()
            _mark(plan, name)


def language_side(plan: TrainingPlan, model: GlammModel, team: Team, *, seed: int) -> LanguageSide:
    """The language side of a model on the features of the frozen CLIP towers."""
    features = np.load(plan.directory / "features.npy", mmap_mode="r")
    sizes = model.config
    heads = LanguageHeads(sizes.llm.hidden_size, sizes.num_visual_tokens)
    return LanguageSide(model, heads, features, plan.tokenizer, np.random.default_rng([seed, team.rank]))


def _language_stage(plan: TrainingPlan, team: Team) -> None:
    weights = load_file(plan.directory / "masks.safetensors")
    oracle = OraclePrompt(SAM_SIZES.output_channels)
    oracle.load_state_dict({k.removeprefix("oracle."): v for k, v in weights.items() if k.startswith("oracle.")})
    torch.manual_seed(plan.seed + 1)
    model = GlammModel(demo_config(plan.tokenizer))
    side = language_side(plan, model, team, seed=plan.seed + 1)

    def save() -> None:
        state = {name: value for name, value in model.state_dict().items() if name.split(".")[0] in PARTS_OF_LANGUAGE}
        save_stage(
            state | {f"heads.{name}": value for name, value in side.heads.state_dict().items()}, plan, "language"
        )

    curve, minutes = plan.directory / "language.csv", plan.language_minutes
    training = Training("language", curve, minutes=minutes, team=team, save=save)
    train_language(side, oracle, plan.scenes, training, seed=plan.seed + 1)


def _joint_stage(plan: TrainingPlan, team: Team) -> None:
    torch.manual_seed(plan.seed + 2)
    model = assemble(plan.directory, description=plan.description).requires_grad_(True)
    side = language_side(plan, model, team, seed=plan.seed + 2)
    weights = load_file(plan.directory / "language.safetensors")
    side.heads.load_state_dict({k.removeprefix("heads."): v for k, v in weights.items() if k.startswith("heads.")})

    def save() -> None:
        state = {name: value for name, value in model.state_dict().items() if not name.startswith("clip.")}
        save_stage(state, plan, "joint")

    training = Training("joint", plan.directory / "joint.csv", minutes=plan.joint_minutes, team=team, save=save)
    train_joint(side, plan.scenes, training, seed=plan.seed + 2)


def finish(plan: TrainingPlan) -> Path:
    """Calibrates the confidence on validation scenes and exports the checkpoint."""
    output = plan.directory / "checkpoint"
    write = partial(export, plan.directory, output, description=plan.description, source=plan.source)
    write()
    annotator = Annotator.from_pretrained(output)
    scenes = list(scenes_from(VALIDATION_SEED, plan.num_validation_scenes))
    third = PruningConfig(rule="random", num_retain_tokens=annotator.num_visual_tokens // 3)
    parts = [score_scenes(annotator, scenes, pruning, "separate") for pruning in (PruningConfig(rule="none"), third)]
    unpruned, pruned = (part.giou for part in parts)
    print(f"validation gIoU: unpruned {unpruned:.4f}, a third of the tokens at random {pruned:.4f}")
    calibration = fit_calibration(parts)
    print(f"calibration: {calibration}", flush=True)
    return write(calibration=calibration)


def train(plan: TrainingPlan) -> Path:
    """Runs the stages that are not done yet; returns the exported checkpoint's directory."""
    plan.directory.mkdir(parents=True, exist_ok=True)
    scenes = plan.scenes
    torch.set_num_threads(plan.threads)
    if not (plan.directory / "tokenizer" / "added_tokens.json").is_file():
        train_tokenizer(scenes, plan.directory / "tokenizer")
    del scenes
    _encoder_stages(plan)
    clip_patches(load_clip(plan.directory), plan.scenes, plan.num_feature_scenes, plan.directory / "features.npy")
    for name, run in (("language", _language_stage), ("joint", _joint_stage)):
        if not _done(plan, name):
            run_team(plan.threads, run, plan)
            _mark(plan, name)
    plot_curves(plan.directory, plan.directory / "curve.png")
    return finish(plan)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="for scenes (8 GB), weights, curves, checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--share", type=float, default=1.0, help="share of the scenes and of the default minutes")
    options = parser.parse_args(arguments)
    if options.share <= 0:
        parser.error(f"--share: must be above 0, not {options.share}")
    whole, share = TrainingPlan(directory=options.output), options.share
    plan = TrainingPlan(
        directory=options.output,
        num_scenes=max(1000, round(whole.num_scenes * min(1, share))),
        num_feature_scenes=max(1000, round(whole.num_feature_scenes * min(1, share))),
        num_validation_scenes=max(10, round(whole.num_validation_scenes * min(1, share))),
        clip_minutes=whole.clip_minutes * share,
        masks_minutes=whole.masks_minutes * share,
        language_minutes=whole.language_minutes * share,
        joint_minutes=whole.joint_minutes * share,
        seed=options.seed,
        threads=options.threads,
    )
    print(f"checkpoint: {train(plan)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
