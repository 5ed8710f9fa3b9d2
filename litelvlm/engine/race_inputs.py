"""What formulations race on: noise of the model's sizes, prompts of a usual length, without branches and with them."""

from __future__ import annotations

import torch
from torch import Tensor

from litelvlm.engine.packed_tensors import pack
from litelvlm.engine.packing import plan_packing
from litelvlm.glamm import GlammModel
from litelvlm.packed_prompts import PackedPrompts
from litelvlm.prompts import Prompt

_IMAGES = 8  # the batch that a GPU runs, so that what is compiled here is used later
_PREFIX, _TEXT = 35, 34  # tokens before the image, and of a phrase behind it
_BRANCHES = 3
_TOKENS = 4096  # of all prompts of a race
_SEED = 20_26


def race_pixels(model: GlammModel) -> Tensor:
    """Normalised pixels of a few images, for SAM."""
    return _pixels(model, _IMAGES, model.config.sam.image_size)


def race_clip_pixels(model: GlammModel) -> Tensor:
    """Normalised pixels of a few images, for CLIP, which takes more of them at a time."""
    return _pixels(model, 2 * _IMAGES, model.config.clip.image_size)


def race_prompts(model: GlammModel) -> tuple[list[PackedPrompts], Tensor]:
    """Packed prompts of a phrase each, then of branches, and the ids of what they begin with."""
    ids = tuple(range(1, _PREFIX + 1))
    limit = min(model.config.llm.vocab_size - 1, _PREFIX)
    ids = tuple(one % limit + 1 for one in ids)
    retained = max(1, model.config.num_visual_tokens // 3)
    packed = [_packed(model, ids, retained, branches) for branches in (0, _BRANCHES)]
    return packed, torch.tensor(ids, device=model.device)


def _pixels(model: GlammModel, count: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(_SEED)
    return torch.randn(count, 3, size, size, generator=generator).to(model.device, model.dtype)


def _packed(model: GlammModel, ids: tuple[int, ...], retained: int, branches: int) -> PackedPrompts:
    count = max(2, _TOKENS // (retained + _TEXT * max(branches, 1)))
    plan = plan_packing([_prompt(ids, branches, row) for row in range(count)], retained, text_start=retained)
    width = model.config.llm.hidden_size
    generator = torch.Generator().manual_seed(_SEED + branches)
    visual = torch.randn(1, retained, width, generator=generator).to(model.device, model.dtype)
    kept = torch.arange(retained, device=model.device).expand(count, -1)
    return pack(plan, visual, [0] * count, kept, model.llm.embed_tokens, original=False)


def _prompt(ids: tuple[int, ...], branches: int, row: int) -> Prompt:
    """A prompt with as many branches, or none; lengths differ a little from row to row."""
    start, length = len(ids) + 1, _TEXT + row % 5
    starts = [start + number * (length + 1) for number in range(max(branches, 1))]
    text = ids * (max(branches, 1) * (length + 1) // len(ids) + 1)
    return Prompt(
        input_ids=(*ids, -200, *text),
        image_index=len(ids),
        seg_indices=tuple(one + length for one in starts),
        phrase_indices=tuple(range(len(starts))),
        branch_starts=tuple(starts) if branches else (),
    )
