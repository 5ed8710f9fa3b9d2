"""The language side in training: from scenes and phrases to mask prompts, with what the auxiliary losses need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from litelvlm.clip_encoder import ClipEncoder
from litelvlm.config import PromptTemplate
from litelvlm.demo.corpus import TEMPLATES
from litelvlm.demo.objects import COLOURS, SHAPES, SIZES
from litelvlm.demo.oracle import NUM_WORDS
from litelvlm.demo.prompt_batches import build_batch
from litelvlm.demo.rendering import SceneArrays
from litelvlm.glamm import GlammModel
from litelvlm.pixels import normalize_clip
from litelvlm.prompts import normalize_phrase
from litelvlm.tokenizer import IMAGE_ID, GlammTokenizer

TEMPLATE_SHARES = (0.7, 0.15, 0.15)
ROUNDS_SHARE = 0.3
# A part of the visual tokens is dropped in this share of the batches, which teaches the model to live with pruning.
DROPOUT_SHARE = 0.75
MIN_KEPT = 0.15
SHUFFLED_SHARE = 0.5
# The layers after which the position that will prompt the mask has to point at the object's patches.
POINTER_LAYERS = (3, 4, 5)


def clip_patches(encoder: ClipEncoder, scenes: SceneArrays, count: int, path: Path) -> np.ndarray:
    """Frozen CLIP features of the first `count` scenes, NxVxD float16 on disk; computed unless they are there."""
    if path.is_file():
        return np.load(path, mmap_mode="r")
    shape = (count, encoder.sizes.num_patches, encoder.sizes.vision_width)
    scratch = path.with_suffix(".partial")
    features = np.lib.format.open_memmap(scratch, mode="w+", dtype=np.float16, shape=shape)
    for start in range(0, count, 96):
        images = list(scenes.clip_pixels[start : min(start + 96, count)])
        pixels = normalize_clip(images, torch.device("cpu"), torch.float32)
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            patches = encoder.encode_images(pixels).patches
        features[start : start + len(pixels)] = patches.float().numpy()
    features.flush()
    scratch.rename(path)
    return np.load(path, mmap_mode="r")


class Understanding(NamedTuple):
    """What the language side made of B scenes with P phrases each, K visual tokens kept.

    Attributes:
        prompts: (B*P)xC mask prompts.
        hidden: (B*P)xW, the final hidden states that they were made from.
        early: (B*P)xW, the hidden states at the same positions after the first pointer layer.
        pointers: for each of `POINTER_LAYERS` BxPxK scores of the kept tokens.
        kept: BxK patch indices of these tokens.
    """

    prompts: Tensor
    hidden: Tensor
    early: Tensor
    pointers: list[Tensor]
    kept: Tensor


class LanguageHeads(nn.Module):
    """Auxiliary heads of the language side, thrown away after training.

    Args:
        width: of the language model.
        num_patches: the location head says in which patch the object's centre lies; others say which words the phrase
            has, after the first pointer layer and at the end, and what the object is.
    """

    def __init__(self, width: int, num_patches: int) -> None:
        super().__init__()
        self.location = nn.Linear(width, num_patches)
        self.words = nn.Linear(width, NUM_WORDS)
        self.early_words = nn.Linear(width, NUM_WORDS)
        self.attributes = nn.Linear(width, len(SIZES) + len(COLOURS) + len(SHAPES))
        self.queries = nn.ModuleList(nn.Linear(width, 64) for _ in POINTER_LAYERS)
        self.keys = nn.ModuleList(nn.Linear(width, 64) for _ in POINTER_LAYERS)


class LanguageSide:
    """Runs projector, language model and `text_hidden_fcs` on batches of scenes.

    Args:
        model: whose parts are run.
        heads: auxiliary heads.
        features: frozen CLIP patches of the scenes, NxVxD.
        tokenizer: the demo's.
        rng: draws template, layout and dropped tokens.
        templates: how phrases are asked, in the shares of `TEMPLATE_SHARES`.
        rounds_share: how often a scene's phrases are one conversation.
    """

    def __init__(
        self,
        model: GlammModel,
        heads: LanguageHeads,
        features: np.ndarray,
        tokenizer: GlammTokenizer,
        rng: np.random.Generator,
        *,
        templates: Sequence[PromptTemplate] = TEMPLATES,
        rounds_share: float = ROUNDS_SHARE,
    ) -> None:
        self.model, self.heads, self.features, self.tokenizer, self.rng = model, heads, features, tokenizer, rng
        self._templates, self._rounds_share = templates, rounds_share

    def __call__(self, chosen: np.ndarray, phrases: list[list[str]]) -> Understanding:
        patches = torch.from_numpy(np.stack([self.features[i] for i in chosen])).float()
        kept = self._kept(len(chosen), patches.shape[1])
        patches = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[-1]))
        template = self._templates[int(self.rng.choice(len(self._templates), p=TEMPLATE_SHARES))]
        layout = "rounds" if self.rng.random() < self._rounds_share else "separate"
        texts = [[normalize_phrase(text) for text in own] for own in phrases]
        batch = build_batch(texts, template, self.tokenizer, layout=layout, num_visual=kept.shape[1])
        is_visual = batch.input_ids == IMAGE_ID
        llm = self.model.llm
        embeds = llm.embed_tokens(batch.input_ids.clamp(min=0))
        embeds = embeds.masked_scatter(is_visual[..., None], self.model.projector(patches).to(embeds.dtype))
        output = llm(
            inputs_embeds=embeds,
            attention_mask=batch.attend,
            position_ids=batch.position_ids,
            use_cache=False,
            output_hidden_states=True,
        )
        first = int(is_visual[0].int().argmax())
        visual = slice(first, first + kept.shape[1])
        hidden = _read(output.last_hidden_state, batch.read).flatten(0, 1)
        layers = (output.hidden_states[layer] for layer in POINTER_LAYERS)
        pointers = [
            query(_read(states, batch.read)) @ key(states[:, visual]).transpose(1, 2) / 8
            for states, query, key in zip(layers, self.heads.queries, self.heads.keys, strict=True)
        ]
        early = _read(output.hidden_states[POINTER_LAYERS[0]], batch.read).flatten(0, 1)
        return Understanding(self.model.mask_prompts(hidden), hidden, early, pointers, kept)

    def _kept(self, rows: int, num_tokens: int) -> Tensor:
        """Which visual tokens each scene keeps in this batch: all, or a random part in raster or random order."""
        if self.rng.random() >= DROPOUT_SHARE:
            return torch.arange(num_tokens).expand(rows, -1)
        count = int(num_tokens * self.rng.uniform(MIN_KEPT, 1))
        kept = np.stack([self.rng.permutation(num_tokens)[:count] for _ in range(rows)])
        return torch.from_numpy(kept if self.rng.random() < SHUFFLED_SHARE else np.sort(kept, axis=1))


def _read(states: Tensor, positions: Tensor) -> Tensor:
    return states.gather(1, positions[..., None].expand(-1, -1, states.shape[-1]))


def location_loss(logits: Tensor, centre_xy: Tensor, grid: int) -> Tensor:
    """Cross entropy against a small Gaussian around the object's centre on the grid of patches."""
    cells = (torch.arange(grid) + 0.5) / grid
    near = torch.exp(-0.5 * ((centre_xy[:, :, None] - cells) * grid / 0.6) ** 2)  # Nx2xG
    target = near[:, 1, :, None] * near[:, 0, None, :]
    target = target.flatten(1) / target.flatten(1).sum(1, keepdim=True)
    return F.cross_entropy(logits.float(), target)


def pointer_loss(scores: Tensor, kept: Tensor, shares: Tensor) -> Tensor:
    """Cross entropy of pointing at the kept patches of the object; objects of which no patch is kept do not count.

    Args:
        scores: BxPxK.
        kept: BxK patch indices.
        shares: (B*P)xV, how much of each patch is the object.
    """
    shares = shares.unflatten(0, scores.shape[:2])
    target = shares.gather(2, kept[:, None].expand(-1, shares.shape[1], -1))
    total = target.sum(-1, keepdim=True)
    log_probability = scores.float().log_softmax(-1)
    each = -(target / total.clamp(min=1e-6) * log_probability).sum(-1)
    counted = total[..., 0] > 0
    return each[counted].mean() if counted.any() else each.sum() * 0
