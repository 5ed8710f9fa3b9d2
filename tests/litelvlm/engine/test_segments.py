"""Stretches say who sees whom, as the rule of packed prompts does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from litelvlm import Annotator
from litelvlm.engine.packing import PackPlan, plan_packing
from litelvlm.engine.segments import Segments, find_segments
from tests.litelvlm.engine.test_packing import PHRASES, prompts_of


def seen_by_rule(plan: PackPlan) -> np.ndarray:
    """TxT bool: a token sees what its prompt holds before it, but nothing of other branches than its own."""
    rows, columns = plan.rows, plan.columns
    seen = (rows[:, None] == rows) & (columns[:, None] >= columns)
    if plan.branches is not None:
        seen &= (plan.branches == 0) | (plan.branches[:, None] == plan.branches)
    return seen


def seen_by_stretches(segments: Segments, num_tokens: int) -> np.ndarray:
    """The same of stretches, each place counted as often as it is seen."""
    seen = np.zeros((num_tokens, num_tokens), np.int64)
    for start, stop in zip(segments.own[:-1], segments.own[1:], strict=True):
        seen[start:stop, start:stop] += np.tri(stop - start, dtype=np.int64)
    if segments.branch_ends is not None and segments.visual_ends is not None:
        text = segments.branch_ends + segments.visual_ends[-1]
        for row in range(len(text) - 1):
            seen[text[row] : text[row + 1], segments.visual_ends[row] : segments.visual_ends[row + 1]] += 1
    return seen


@pytest.mark.parametrize("layout", ["separate", "rounds", "shared"])
@pytest.mark.parametrize("num_retained", [1, 6])
def test_stretches_see_what_the_rule_says_once(demo_annotator: Annotator, layout: str, num_retained: Any) -> None:
    asked = (PHRASES, PHRASES[:1], PHRASES[1:])
    prompts = [prompt for phrases in asked for prompt in prompts_of(demo_annotator, layout, phrases)]
    plan = plan_packing(prompts, num_retained, text_start=num_retained)
    segments = find_segments(plan)
    np.testing.assert_array_equal(seen_by_stretches(segments, plan.num_tokens), seen_by_rule(plan))
    assert segments.longest == np.diff(segments.own).max()
    assert segments.own.dtype == np.int32
    assert (segments.branch_ends is not None) == (layout == "shared")
    if segments.branch_ends is not None and segments.visual_ends is not None:
        assert segments.longest_text == np.diff(segments.branch_ends).max()
        assert set(np.diff(segments.visual_ends)) == {num_retained}
