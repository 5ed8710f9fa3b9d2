"""Stage 2a: the grounding encoder alone: from the oracle's prompts it learns to draw objects, and then to find them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from litelvlm.demo.losses import mask_losses, total_mask_loss
from litelvlm.demo.oracle import OraclePrompt
from litelvlm.demo.picks import EASY_UNTIL, PhrasePicker
from litelvlm.demo.rendering import SceneArrays
from litelvlm.demo.schedule import Training
from litelvlm.demo.targets import Centres, low_res_masks
from litelvlm.grounding_encoder import GroundingEncoder
from litelvlm.pixels import normalize_sam

BATCH = 16
PHRASES = 4
LEARNING_RATE = 1e-3
VAGUE_FROM = 0.4  # of the time; until then every prompt says where the object is


def initialize(grounding: GroundingEncoder) -> None:
    """Fresh weights; transformers leaves these near zero, since they are always loaded."""
    encoder = grounding.image_encoder
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
        elif isinstance(module, nn.Conv2d):
            nn.init.trunc_normal_(module.weight, std=0.05)
    if encoder.pos_embed is not None:
        nn.init.trunc_normal_(encoder.pos_embed, std=0.02)
    nn.init.normal_(grounding.positional_embedding.positional_embedding)
    nn.init.normal_(grounding.no_mask_embed.weight, std=0.1)


def scene_pixels(scenes: SceneArrays, chosen: np.ndarray, image_size: int) -> torch.Tensor:
    """Normalised, padded pixels of scenes, Bx3xSxS."""
    sizes = [tuple(int(v) for v in scenes.sizes_hw[i]) for i in chosen]
    images = [scenes.sam_pixels[i][:h, :w] for i, (h, w) in zip(chosen, sizes, strict=True)]
    return normalize_sam(images, image_size, torch.device("cpu"), torch.float32)


def train_masks(
    grounding: GroundingEncoder, oracle: OraclePrompt, scenes: SceneArrays, training: Training, *, seed: int
) -> None:
    """Trains encoder, decoder and oracle in place for a time.

    Args:
        grounding, oracle: with the weights to start from.
        scenes: training scenes.
        training: for how long, and where the curve goes.
        seed: of the scenes drawn.
    """
    rng, centres_of = np.random.default_rng(seed), Centres(scenes)
    picker = PhrasePicker(scenes, rng)
    size, params = grounding.sizes, [*grounding.parameters(), *oracle.parameters()]
    for progress in training.steps(params, LEARNING_RATE):
        chosen = rng.choice(len(scenes), BATCH, replace=False)
        asked = [(int(i), *pick) for i in chosen for pick in picker.pick(int(i), PHRASES, max(progress, EASY_UNTIL))]
        picks, texts = [(i, target) for i, _, target in asked], [text for _, text, _ in asked]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            embeddings = grounding.encode_images(scene_pixels(scenes, chosen, size.image_size)).float()
            prompts = oracle.in_training(texts, centres_of(picks), vague=progress >= VAGUE_FROM)
            logits, iou = grounding.decode_masks(embeddings.repeat_interleave(PHRASES, 0), prompts)
        losses = mask_losses(logits.float(), iou.float(), low_res_masks(scenes, picks, size.low_res_size))
        training.learn(total_mask_loss(losses), losses)
