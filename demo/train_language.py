"""Stage 2b: projector, language model and `text_hidden_fcs`, from frozen CLIP features to the oracle's mask prompts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from litelvlm.demo.language import LanguageSide, Understanding, location_loss, pointer_loss
from litelvlm.demo.objects import COLOURS, SHAPES, SIZES
from litelvlm.demo.oracle import OraclePrompt, read_words
from litelvlm.demo.picks import PhrasePicker
from litelvlm.demo.rendering import SceneArrays
from litelvlm.demo.schedule import Training
from litelvlm.demo.targets import Centres, Pick, patch_shares

BATCH = 16  # scenes of each member of the team
PHRASES = 6
LEARNING_RATE = 1.5e-3
WEIGHTS = {"location": 1.0, "pointer": 1.0, "words": 2.0, "attributes": 0.5, "code": 1.0}


def language_losses(seen: Understanding, location: Tensor, centre_xy: Tensor, shares: Tensor) -> dict[str, Tensor]:
    """The auxiliary losses of a batch and, for the log, how often the location is right to within a patch.

    Args:
        seen: what the language side made of the batch.
        location: (B*P)xV logits of the location head.
        centre_xy: (B*P)x2, of the objects.
        shares: (B*P)xV, how much of each patch is the object.
    """
    grid = round(location.shape[1] ** 0.5)
    place = location.detach().argmax(1)
    found = torch.stack([place % grid, place // grid], 1)
    right = ((found + 0.5) / grid - centre_xy).abs().amax(1) <= 1.5 / grid
    return {
        "location": location_loss(location, centre_xy, grid),
        "pointer": torch.stack([pointer_loss(scores, seen.kept, shares) for scores in seen.pointers]).mean(),
        "located": right.float().mean(),
    }


def attribute_loss(logits: Tensor, scenes: SceneArrays, picks: list[Pick]) -> Tensor:
    """Cross entropies of size, colour and shape of the objects meant, NxA logits side by side."""
    words = [scenes.descriptions[scene][target].split() for scene, target in picks]
    parts = logits.split([len(SIZES), len(COLOURS), len(SHAPES)], dim=1)
    losses = []
    for place, (part, names) in enumerate(zip(parts, (tuple(SIZES), tuple(COLOURS), SHAPES), strict=True)):
        truth = torch.tensor([names.index(own[place]) for own in words])
        losses.append(F.cross_entropy(part, truth))
    return torch.stack(losses).mean()


def train_language(
    side: LanguageSide,
    oracle: OraclePrompt,
    scenes: SceneArrays,
    training: Training,
    *,
    seed: int,
) -> None:
    """Trains the language side in place for a time.

    Args:
        side: projector, language model and heads, with the weights to start from.
        oracle: trained, frozen; its prompts are what the language model learns to say.
        scenes: training scenes; those that `side` has features of are used.
        training: for how long, with whom, and where curve and weights go.
        seed: of scenes and phrases.
    """
    rng, centres_of = np.random.default_rng([seed, training.team.rank]), Centres(scenes)
    picker, model = PhrasePicker(scenes, rng), side.model
    modules = (model.projector, model.llm, model.text_hidden_fcs, side.heads)
    params = [param for module in modules for param in module.parameters()]
    for progress in training.steps(params, LEARNING_RATE):
        chosen = rng.choice(len(side.features), BATCH, replace=False)
        asked = [picker.pick(int(i), PHRASES, progress) for i in chosen]
        picks = [(int(i), target) for i, own in zip(chosen, asked, strict=True) for _, target in own]
        centre_xy = centres_of(picks)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen = side(chosen, [[text for text, _ in own] for own in asked])
            location = side.heads.location(seen.hidden)
        shares = patch_shares(scenes, picks, round(location.shape[1] ** 0.5))
        losses = language_losses(seen, location, centre_xy, shares)
        texts = [text for own in asked for text, _ in own]
        spoken = torch.cat([side.heads.words(seen.hidden.float()), side.heads.early_words(seen.early.float())])
        losses["words"] = F.binary_cross_entropy_with_logits(spoken, read_words(texts).repeat(2, 1))
        losses["attributes"] = attribute_loss(side.heads.attributes(seen.hidden.float()), scenes, picks)
        with torch.no_grad():
            code = oracle(texts, centre_xy)
        losses["code"] = F.mse_loss(seen.prompts.float(), code)
        training.learn(torch.stack([WEIGHTS[name] * losses[name] for name in losses if name in WEIGHTS]).sum(), losses)
