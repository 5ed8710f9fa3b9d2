"""Packed prompts compute what transformers' own forward pass computes on each prompt alone."""

from __future__ import annotations

from typing import Any

import pytest

from litelvlm.config import PromptTemplate
from litelvlm.engine.annotator import Annotator
from litelvlm.engine.packing import packed_length, plan_packing
from litelvlm.prompts import build_prompts

PHRASES = ["dog", "the second person from the left, in a red coat", "sky"]


def prompts_of(annotator: Any, layout: str, phrases: list[str]) -> Any:
    tokenizer = annotator.preprocessor.tokenizer
    return build_prompts(phrases, PromptTemplate(), tokenizer, layout=layout, max_text_tokens=1000)


@pytest.mark.parametrize("layout", ["separate", "rounds", "shared"])
@pytest.mark.parametrize("num_retained", [1, 7, 64])
def test_a_plan_holds_every_token_once_and_nothing_else(
    demo_annotator: Annotator, layout: str, num_retained: int
) -> None:
    prompts = [*prompts_of(demo_annotator, layout, PHRASES), *prompts_of(demo_annotator, layout, PHRASES[:1])]
    plan = plan_packing(prompts, num_retained, text_start=num_retained)
    lengths = [packed_length(prompt, num_retained) for prompt in prompts]
    assert plan.num_tokens == sum(lengths) == len(plan.position_ids)
    assert plan.width == max(lengths)
    assert sorted(plan.text_places + plan.visual_places) == list(range(plan.num_tokens))
    assert len(plan.text_ids) == len(plan.text_places)
    assert len(plan.visual_places) == num_retained * len(prompts)
    assert len(set(zip(plan.rows, plan.columns, strict=True))) == plan.num_tokens
    assert len(plan.read) == sum(len(prompt.seg_indices) for prompt in prompts)
    for prompt, row in zip(prompts, range(len(prompts)), strict=True):
        own = [place for place, of in enumerate(plan.rows) if of == row]
        text = [plan.text_ids[plan.text_places.index(place)] for place in own[num_retained:]]
        assert text == list(prompt.input_ids[prompt.image_index + 1 :][: len(text)])
        reads = [place for place in plan.read if place in own]
        following = [prompt.input_ids[own.index(place) + 2 - num_retained + prompt.image_index] for place in reads]
        assert following == [prompt.input_ids[index] for index in prompt.seg_indices]


def test_branches_begin_at_the_same_position(demo_annotator: Annotator) -> None:
    (prompt,) = prompts_of(demo_annotator, "shared", PHRASES)
    plan = plan_packing([prompt], 5, text_start=64)
    first = {branch: plan.branches.index(branch) for branch in set(plan.branches) - {0}}
    assert len(first) == len(PHRASES)
    assert {plan.position_ids[place] for place in first.values()} == {len(plan.prefix_ids) + 64}
