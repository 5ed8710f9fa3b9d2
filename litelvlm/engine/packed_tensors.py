"""A plan's tensors on the model's device: everything that the host knows in one copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from litelvlm.engine.packing import PackPlan
from litelvlm.engine.segments import Segments, find_segments
from litelvlm.packed_prompts import PackedPrompts, Stretches
from litelvlm.transfer import all_on_device

_PLACES = ("text_ids", "text_places", "visual_places", "position_ids", "rows", "columns", "read", "read_slots")
_OF_BRANCHES = ("branch_ends", "visual_ends")


def pack(
    plan: PackPlan,
    visual: Tensor,
    image_index: Sequence[int],
    retained: Tensor,
    embed_tokens: Callable[[Tensor], Tensor],
    *,
    original: bool,
    patches: Tensor | None = None,
) -> PackedPrompts:
    """The plan's tensors.

    Args:
        plan: where what stands.
        visual: BxVxW.
        image_index: each prompt's image.
        retained: NxR.
        embed_tokens: text embeddings of token ids.
        original: whether kept tokens carry the position ids that they have in the unpruned prompt.
        patches: NxR, at whose places they stand there; None is `retained`.
    """
    segments = find_segments(plan)
    sent = _send(plan, segments, image_index, visual)
    embeds = visual.new_empty(plan.num_tokens, visual.shape[-1])
    places, position_ids = sent["visual_places"], sent["position_ids"]
    embeds[places] = visual[sent["image_index"][:, None], retained].flatten(0, 1)
    embeds[sent["text_places"]] = embed_tokens(sent["text_ids"])
    if original:
        position_ids[places] = len(plan.prefix_ids) + (retained if patches is None else patches).flatten()
    return PackedPrompts(
        embeds=embeds,
        position_ids=position_ids,
        rows=sent["rows"],
        columns=sent["columns"],
        num_rows=len(image_index),
        width=plan.width,
        read=sent["read"],
        read_slots=sent["read_slots"],
        num_slots=plan.num_slots,
        branches=sent.get("branches"),
        stretches=Stretches(
            own=sent["own"],
            whole=sent["whole"],
            prefix_ends=sent["prefix_ends"],
            longest=segments.longest,
            branch_ends=sent.get("branch_ends"),
            longest_text=segments.longest_text,
            visual_ends=sent.get("visual_ends"),
            num_retained=segments.num_retained,
        ),
    )


def _send(plan: PackPlan, segments: Segments, image_index: Sequence[int], visual: Tensor) -> dict[str, Tensor]:
    """What the host knows, on the device by name."""
    arrays = {name: getattr(plan, name) for name in _PLACES} | {"image_index": np.array(image_index, np.int64)}
    arrays |= {"own": segments.own, "whole": np.array([0, plan.num_tokens], np.int32)}
    arrays["prefix_ends"] = np.array([0, len(plan.prefix_ids)], np.int32)
    if plan.branches is not None:
        arrays |= {"branches": plan.branches} | {name: getattr(segments, name) for name in _OF_BRANCHES}
    return all_on_device(arrays, visual.device)
