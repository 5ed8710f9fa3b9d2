"""How prompts are laid end to end: pure planning over token ids, no tensors.

Lengths and places are counted without the tokens before the image, which all prompts share and which are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from litelvlm.prompts import Prompt


@dataclass(frozen=True, kw_only=True)
class PackPlan:
    """N prompts of T tokens together; of each prompt first its R visual tokens, then text.

    Attributes:
        prefix_ids: what all prompts begin with.
        text_ids: token ids of all text after the images.
        text_places, visual_places: where text and visual tokens stand among the T.
        position_ids: T; those of visual tokens are as if they were compact.
        rows, columns: T, each token's prompt and its place there.
        branches: T, 0 for what all see, else the number of the branch; empty where there are no branches.
        read: which of the T tokens' last hidden states are read, prompt by prompt.
        read_slots: each one's number within its prompt.
        width: the longest prompt.
    """

    prefix_ids: tuple[int, ...]
    text_ids: list[int] = field(default_factory=list)
    text_places: list[int] = field(default_factory=list)
    visual_places: list[int] = field(default_factory=list)
    position_ids: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    read_slots: list[int] = field(default_factory=list)
    width: int = 0

    @property
    def num_tokens(self) -> int:
        """T."""
        return len(self.rows)


def packed_length(prompt: Prompt, num_retained: int) -> int:
    """Tokens that must be computed: after the common prefix, up to the one just before the last `[SEG]`."""
    return _read_columns(prompt, num_retained)[-1] + 1


def plan_packing(prompts: Sequence[Prompt], num_retained: int, *, text_start: int) -> PackPlan:
    """Lays prompts end to end.

    Args:
        prompts: all with the same tokens before the image.
        num_retained: R, visual tokens kept in each.
        text_start: position id, counted from the image's, of the first token after the visual ones: R, or V where kept
            tokens carry the ids that they have in the unpruned prompt.
    """
    prefix = prompts[0].input_ids[: prompts[0].image_index]
    assert all(prompt.input_ids[: prompt.image_index] == prefix for prompt in prompts), "prompts begin differently"
    width = max(packed_length(prompt, num_retained) for prompt in prompts)
    plan = PackPlan(prefix_ids=tuple(prefix), width=width)
    for row, prompt in enumerate(prompts):
        _append(plan, row, prompt, num_retained, text_start)
    if not any(prompt.branch_starts for prompt in prompts):
        plan.branches.clear()
    return plan


def _append(plan: PackPlan, row: int, prompt: Prompt, num_retained: int, text_start: int) -> None:
    length, first = packed_length(prompt, num_retained), plan.num_tokens
    start = len(plan.prefix_ids)
    starts = {place - start - 1 + num_retained for place in prompt.branch_starts}
    position, branch = text_start, 0
    for column in range(length):
        if column < num_retained:
            plan.visual_places.append(first + column)
            plan.position_ids.append(start + column)
        else:
            if column in starts:
                position, branch = text_start, branch + 1
            plan.text_places.append(first + column)
            plan.position_ids.append(start + position)
            position += 1
        plan.branches.append(branch)
    plan.text_ids.extend(prompt.input_ids[start + 1 : start + 1 + length - num_retained])
    plan.rows.extend([row] * length)
    plan.columns.extend(range(length))
    for slot, column in enumerate(_read_columns(prompt, num_retained)):
        plan.read.append(first + column)
        plan.read_slots.append(slot)


def _read_columns(prompt: Prompt, num_retained: int) -> list[int]:
    """Where the hidden states that become mask prompts stand."""
    before = prompt.image_index + 1 + prompt.read_offset
    return [index - before + num_retained for index in prompt.seg_indices]
