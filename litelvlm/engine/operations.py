"""Operations of batches by their plans: those that are needed, and those that a formulation executes.

The common prefix, which is computed once for a model, and what is never computed (text behind the last hidden state
that is read) are in neither. What stands between the two figures is padding: rows filled up to the longest prompt, and
positions of SAM's windows beyond the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from litelvlm.config import GlammConfig
from litelvlm.engine.packing import PackPlan
from litelvlm.engine.segments import find_segments
from litelvlm.flops import (
    clip_text_flop,
    clip_vision_flop,
    mask_decoder_flop,
    mask_prompt_flop,
    packed_prefill_flop,
    projector_flop,
    sam_encoder_flop,
    sam_padding_flop,
    sam_projection_padding_flop,
)
from litelvlm.formulation import Formulation


@dataclass(frozen=True, kw_only=True)
class PlannedWork:
    """What runs.

    Attributes:
        images: encoded.
        phrases: masks decoded.
        plans: of the language model's passes.
        scored_texts: questions that CLIP's text tower embeds.
    """

    images: int
    phrases: int
    plans: Sequence[PackPlan]
    scored_texts: int = 0


def needed_flop(config: GlammConfig, work: PlannedWork) -> dict[str, float]:
    """Operations by stage of the engine's clock, without padding."""
    sam = sam_encoder_flop(config.sam) - sam_padding_flop(config.sam)
    return _by_stage(config, work, sam, [_visible_pairs(plan) for plan in work.plans])


def executed_flop(config: GlammConfig, work: PlannedWork, formulation: Formulation) -> dict[str, float]:
    """The same with the padding that a formulation computes."""
    sam = sam_encoder_flop(config.sam)
    if formulation.sam.startswith("kernel"):
        sam -= sam_padding_flop(config.sam)
    elif formulation.sam.startswith("folded"):
        sam -= sam_projection_padding_flop(config.sam)
    in_rows = formulation.llama == "padded"
    return _by_stage(
        config, work, sam, [_pairs_in_rows(plan) if in_rows else _visible_pairs(plan) for plan in work.plans]
    )


def _by_stage(config: GlammConfig, work: PlannedWork, sam: float, pairs: Sequence[float]) -> dict[str, float]:
    prefill = sum(
        packed_prefill_flop(config.llm, tokens=plan.num_tokens, pairs=seen, read=len(plan.read))
        for plan, seen in zip(work.plans, pairs, strict=True)
    )
    return {
        "clip": work.images * clip_vision_flop(config.clip),
        "prune": work.scored_texts * clip_text_flop(config.clip),
        "llm": work.images * projector_flop(config) + prefill + work.phrases * mask_prompt_flop(config),
        "sam": work.images * sam,
        "decode_masks": work.phrases * mask_decoder_flop(config.sam),
    }


def _visible_pairs(plan: PackPlan) -> float:
    """Of a token and one that it sees, the prefix included."""
    segments = find_segments(plan)
    lengths = (segments.own[1:] - segments.own[:-1]).astype(float)
    pairs = plan.num_tokens * len(plan.prefix_ids) + float((lengths * (lengths + 1) / 2).sum())
    return pairs + (len(plan.text_places) * plan.num_retained if plan.branches is not None else 0)


def _pairs_in_rows(plan: PackPlan) -> float:
    """Of rows as long as the longest prompt, each of which is computed whole."""
    return float(plan.num_prompts * plan.width * (len(plan.prefix_ids) + plan.width))
