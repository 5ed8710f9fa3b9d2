"""Which stretches of packed tokens attend to which, as the cumulative lengths that variable-length attention takes.

A stretch attends to itself, causally, and to the common prefix, which is no part of it. Without branches a stretch is a
prompt. With branches it is a prompt's visual tokens or one branch, and the text of a prompt attends to the prompt's
visual tokens besides; what a token's parts give is merged by their log-sum-exps (`litelvlm.llama_attention`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litelvlm.engine.packing import PackPlan, Places


@dataclass(frozen=True, kw_only=True, eq=False)
class Segments:
    """The stretches of T packed tokens; arrays are int32 and begin with 0.

    Attributes:
        own: ends of the stretches among the T tokens.
        longest: tokens of the longest stretch.
        branch_ends: with branches, where each prompt's text ends, counted from the first text token; else None.
        longest_text: tokens of the longest prompt's text.
        visual_ends: with branches, where each prompt's visual tokens end; else None.
        num_retained: R, visual tokens of each prompt.
    """

    own: NDArray[np.int32]
    longest: int
    branch_ends: NDArray[np.int32] | None
    longest_text: int
    visual_ends: NDArray[np.int32] | None
    num_retained: int


def find_segments(plan: PackPlan) -> Segments:
    """The stretches of a plan's tokens."""
    text_lengths = np.bincount(plan.span_rows, plan.span_lengths, plan.num_prompts).astype(np.int64)
    visual = np.full(plan.num_prompts, plan.num_retained)
    has_branches = plan.branches is not None
    own = np.concatenate([visual, plan.span_lengths]) if has_branches else visual + text_lengths
    return Segments(
        own=_ends(own),
        longest=int(own.max()),
        branch_ends=_ends(text_lengths) if has_branches else None,
        longest_text=int(text_lengths.max()),
        visual_ends=_ends(visual) if has_branches else None,
        num_retained=plan.num_retained,
    )


def _ends(lengths: Places) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
