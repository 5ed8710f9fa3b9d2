"""Small models that begin with the shipped one's weights and are then trained on masks, all but CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.attention import sdpa_kernel

from litelvlm.checkpoint import DEMO_DIRECTORY, open_checkpoint
from litelvlm.config import PromptTemplate
from litelvlm.demo.corpus import TEMPLATES
from litelvlm.demo.language import ROUNDS_SHARE, LanguageHeads, LanguageSide
from litelvlm.demo.schedule import Training
from litelvlm.demo.train import ATTENTION, TrainingPlan, finish, save_stage
from litelvlm.demo.train_joint import LEARNING_RATE, train_joint
from litelvlm.glamm import GlammModel
from litelvlm.loading import load_model
from litelvlm.tokenizer import GlammTokenizer

FIT_SCENES = 400


def shipped_model() -> GlammModel:
    """The shipped checkpoint's model, float32 on the CPU."""
    return load_model(open_checkpoint(DEMO_DIRECTORY), torch.device("cpu"), torch.float32)


def patches_to_fit(features: np.ndarray) -> Tensor:
    """NxD float32: the patches of the first scenes of SxVxD features."""
    return torch.from_numpy(np.array(features[:FIT_SCENES])).float().flatten(0, 1)


def linear_fit(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Weight ExD and bias E of the layer that maps NxD inputs nearest to NxE targets, by least squares."""
    with_one = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    solution = torch.linalg.lstsq(with_one, targets).solution
    return solution[:-1].T.contiguous(), solution[-1].contiguous()


def train_further(
    plan: TrainingPlan,
    model: GlammModel,
    features: np.ndarray,
    tokenizer: GlammTokenizer,
    *,
    curve: str,
    templates: Sequence[PromptTemplate] = TEMPLATES,
    rounds_share: float = ROUNDS_SHARE,
    rate: float = LEARNING_RATE,
) -> Path:
    """Trains for `plan.joint_minutes`, calibrates and exports; goes on with what an earlier run left in the directory.

    Args:
        plan: whose directory holds `clip.safetensors`, `clip_merges.txt` and the tokeniser.
        model: with the weights to begin with.
        features: frozen CLIP patches of the plan's scenes, NxVxD.
        tokenizer: the model's.
        curve: name of the curve in the log.
        templates: how phrases are asked, in the shares of `demo.language`.
        rounds_share: how often a scene's phrases are one conversation.
        rate: the highest learning rate.

    Returns:
        The checkpoint's directory.
    """
    model.requires_grad_(True)
    heads = LanguageHeads(model.config.llm.hidden_size, model.config.num_visual_tokens)
    go_on(model, heads, plan.directory / "joint.safetensors")
    rng = np.random.default_rng(plan.seed)
    side = LanguageSide(model, heads, features, tokenizer, rng, templates=templates, rounds_share=rounds_share)

    def save() -> None:
        state = {name: value for name, value in model.state_dict().items() if not name.startswith("clip.")}
        save_stage(state | {f"heads.{name}": value for name, value in heads.state_dict().items()}, plan, "joint")

    training = Training(curve, plan.directory / "joint.csv", minutes=plan.joint_minutes, save=save)
    with sdpa_kernel(ATTENTION):
        train_joint(side, plan.scenes, training, seed=plan.seed, rate=rate)
    return finish(plan)


def go_on(model: GlammModel, heads: LanguageHeads, path: Path) -> None:
    """Loads what an earlier run left, if there is anything."""
    if path.is_file():
        weights = load_file(path)
        own = {name.removeprefix("heads."): value for name, value in weights.items() if name.startswith("heads.")}
        heads.load_state_dict(own)
        model.load_state_dict({name: weights[name] for name in weights if name.split(".")[0] != "heads"}, strict=False)
