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
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from litelvlm.checkpoint import CLIP_MERGES, DEMO_DIRECTORY
from litelvlm.demo.corpus import LISA_TEMPLATES
from litelvlm.demo.language import clip_patches
from litelvlm.demo.sizes import demo_config
from litelvlm.demo.train import TrainingPlan
from litelvlm.demo.train_clip import save_clip
from litelvlm.demo.warm_start import linear_fit, patches_to_fit, shipped_model, train_further
from litelvlm.glamm import GlammModel
from litelvlm.models.lisa import LISA
from litelvlm.tokenizer import TOKENIZER_MODEL, GlammTokenizer

RATE = 5e-4  # below that of `train_joint`, which begins with less


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
    shipped = shipped_model()
    model = GlammModel(demo_config(tokenizer))
    own = shipped.state_dict()
    table = own.pop("llm.embed_tokens.weight")
    state = {name: value for name, value in own.items() if not name.startswith("projector.")}
    state["llm.embed_tokens.weight"] = _embeddings(table, tokenizer)
    with torch.inference_mode():
        weight, bias = linear_fit(patches, shipped.projector(patches))
    model.load_state_dict(state | {"projector.weight": weight, "projector.bias": bias})
    return model


def _embeddings(table: Tensor, tokenizer: GlammTokenizer) -> Tensor:
    """Rows of GLaMM's embeddings at LISA's ids."""
    theirs = GlammTokenizer(DEMO_DIRECTORY)
    rows = list(range(tokenizer.vocab_size))
    for token in LISA.added_tokens:
        rows[tokenizer.token_id(token)] = theirs.token_id(token)
    return table[rows]


def train_lisa(plan: TrainingPlan) -> Path:
    """Trains for `plan.joint_minutes`, calibrates and exports; returns the checkpoint's directory."""
    directory = plan.directory
    directory.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    tokenizer, scenes = write_tokenizer(directory / "tokenizer"), plan.scenes
    shutil.copy(DEMO_DIRECTORY / CLIP_MERGES, directory)
    clip = shipped_model().clip
    save_clip(clip, directory)
    features = clip_patches(clip, scenes, min(plan.num_feature_scenes, len(scenes)), directory / "features.npy")
    model = warm_start(tokenizer, patches_to_fit(features))
    return train_further(
        plan, model, features, tokenizer, curve="lisa", templates=LISA_TEMPLATES, rounds_share=0, rate=RATE
    )


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
    plan = replace(
        plan,
        source="demo/train_lisa.py",
        num_scenes=options.scenes,
        num_feature_scenes=options.scenes,
        joint_minutes=options.minutes,
    )
    print(f"checkpoint: {train_lisa(plan)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
