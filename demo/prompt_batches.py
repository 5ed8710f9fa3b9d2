"""Prompts of a batch of scenes as tensors: one sequence per scene, its phrases as branches or as rounds.

In `separate` a scene's phrases share the prefix up to the visual tokens and each is a branch of its own, behind a tree
attention mask and with position ids that restart at the end of the prefix: exactly what separate prompts compute, at a
fraction of the cost. In `rounds` they are rounds of one conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from litelvlm.config import PromptTemplate
from litelvlm.prompts import Prompt, build_prompts
from litelvlm.tokenizer import IMAGE_ID, GlammTokenizer


@dataclass(frozen=True, kw_only=True)
class PromptBatch:
    """B scenes with P phrases each, sequences of length S with K visual tokens.

    Attributes:
        input_ids: BxS; visual tokens are `IMAGE_ID`, padding is 0.
        position_ids: BxS.
        attend: Bx1xSxS bool.
        read: BxP, the positions just before each `[SEG]`.
    """

    input_ids: Tensor
    position_ids: Tensor
    attend: Tensor
    read: Tensor


def build_batch(
    phrases: Sequence[list[str]], template: PromptTemplate, tokenizer: GlammTokenizer, *, layout: str, num_visual: int
) -> PromptBatch:
    """Lays out the prompts of scenes that all have the same number of phrases."""
    rows = [_row(texts, template, tokenizer, layout, num_visual) for texts in phrases]
    length = max(len(ids) for ids, *_ in rows)
    ids, positions, branches = (
        torch.stack([torch.tensor(row[k] + [fill] * (length - len(row[k]))) for row in rows])
        for k, fill in ((0, 0), (1, 0), (2, -1))
    )
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = (branches[:, :, None] == branches[:, None, :]) | (branches[:, None, :] == 0)
    read = torch.tensor([row[3] for row in rows])
    return PromptBatch(input_ids=ids, position_ids=positions, attend=(causal & same)[:, None], read=read)


def _row(
    texts: list[str], template: PromptTemplate, tokenizer: GlammTokenizer, layout: str, num_visual: int
) -> tuple[list[int], list[int], list[int], list[int]]:
    prompts = build_prompts(texts, template, tokenizer, layout=layout, max_text_tokens=1 << 20)
    first = prompts[0]
    ids = [*first.input_ids[: first.image_index], *[IMAGE_ID] * num_visual]
    positions, branches, read = list(range(len(ids))), [0] * len(ids), []
    prefix = len(ids)
    for number, prompt in enumerate(prompts):
        tail = _tail(prompt)
        offset = len(ids) - prompt.image_index - 1
        ids += tail
        positions += range(prefix, prefix + len(tail))
        branches += [number + 1 if layout == "separate" else 0] * len(tail)
        read += [index - 1 + offset for index in prompt.seg_indices]
    return ids, positions, branches, read


def _tail(prompt: Prompt) -> list[int]:
    """What follows the image, up to the token just before the last `[SEG]`."""
    return list(prompt.input_ids[prompt.image_index + 1 : prompt.seg_indices[-1]])
