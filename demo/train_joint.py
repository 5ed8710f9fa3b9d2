"""Stage 2c: language side and grounding encoder together, on the masks themselves."""

from __future__ import annotations

import numpy as np
import torch

from litelvlm.demo.language import LanguageSide
from litelvlm.demo.losses import mask_losses, total_mask_loss
from litelvlm.demo.picks import EASY_UNTIL, PhrasePicker
from litelvlm.demo.rendering import SceneArrays
from litelvlm.demo.schedule import Training
from litelvlm.demo.targets import Centres, low_res_masks, patch_shares
from litelvlm.demo.train_language import language_losses
from litelvlm.demo.train_masks import scene_pixels

BATCH = 12  # scenes of each member of the team
PHRASES = 6
LEARNING_RATE = 8e-4


def train_joint(
    side: LanguageSide,
    scenes: SceneArrays,
    training: Training,
    *,
    seed: int,
    rate: float = LEARNING_RATE,
) -> None:
    """Trains everything but CLIP in place for a time.

    Args:
        side: with the weights of stages 2a and 2b in its model.
        scenes: training scenes; those that `side` has features of are used.
        training: for how long, with whom, and where curve and weights go.
        seed: of scenes and phrases.
        rate: the highest learning rate.
    """
    rng, centres_of = np.random.default_rng([seed, training.team.rank]), Centres(scenes)
    picker, model = PhrasePicker(scenes, rng), side.model
    grounding = model.grounding_encoder
    modules = (model.projector, model.llm, model.text_hidden_fcs, grounding, side.heads)
    params = [param for module in modules for param in module.parameters()]
    for progress in training.steps(params, rate):
        chosen = rng.choice(len(side.features), BATCH, replace=False)
        asked = [picker.pick(int(i), PHRASES, max(progress, EASY_UNTIL)) for i in chosen]
        picks = [(int(i), target) for i, own in zip(chosen, asked, strict=True) for _, target in own]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen = side(chosen, [[text for text, _ in own] for own in asked])
            location = side.heads.location(seen.hidden)
            embeddings = grounding.encode_images(scene_pixels(scenes, chosen, grounding.sizes.image_size)).float()
            logits, iou = grounding.decode_masks(embeddings.repeat_interleave(PHRASES, 0), seen.prompts)
        shares = patch_shares(scenes, picks, round(location.shape[1] ** 0.5))
        extra = language_losses(seen, location, centres_of(picks), shares)
        losses = mask_losses(logits.float(), iou.float(), low_res_masks(scenes, picks, grounding.sizes.low_res_size))
        training.learn((total_mask_loss(losses) + 0.3 * extra["location"] + 0.15 * extra["pointer"]), losses | extra)
