"""A plan holds what a prompt by prompt, token by token restatement says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from litelvlm.config import PromptTemplate
from litelvlm.engine.annotator import Annotator
from litelvlm.engine.packing import PackPlan, packed_length, plan_packing
from litelvlm.prompts import Prompt, build_prompts

PHRASES = ["dog", "the second person from the left, in a red coat", "sky"]
TWICE = PromptTemplate(question="Where is the {phrase}? Please segment it.", answer="Sure, it is [SEG].")


def prompts_of(annotator: Any, layout: str, phrases: list[str], template: PromptTemplate | None = None) -> Any:
    tokenizer = annotator.preprocessor.tokenizer
    return build_prompts(phrases, template or PromptTemplate(), tokenizer, layout=layout, max_text_tokens=1000)


def told(prompt: Prompt, num_retained: int, text_start: int) -> tuple[list[tuple[Any, ...]], list[int]]:
    """What stands at each place of a prompt, (token id or visual token, position id, branch), and which is read."""
    start = prompt.image_index
    tokens: list[tuple[Any, ...]] = [(f"visual {n}", start + n, 0) for n in range(num_retained)]
    reads = []
    branch, position = 0, text_start
    for place in range(start + 1, prompt.seg_indices[-1]):
        if place in prompt.branch_starts:
            branch, position = branch + 1, text_start
        if prompt.branch_starts and place in prompt.seg_indices:
            continue  # nobody sees what comes after the hidden state that is read, in its branch
        tokens.append((prompt.input_ids[place], start + position, branch))
        position += 1
        if place + 1 in prompt.seg_indices:
            reads.append(len(tokens) - 1)
    return tokens, reads


def found(plan: PackPlan, row: int) -> tuple[list[tuple[Any, ...]], list[int]]:
    """The same of a plan's prompt."""
    (own,) = np.nonzero(plan.rows == row)
    own = own[np.argsort(plan.columns[own])]
    assert plan.columns[own].tolist() == list(range(len(own)))
    visual = {int(place): f"visual {n % plan.num_retained}" for n, place in enumerate(plan.visual_places)}
    text = {int(place): int(token) for place, token in zip(plan.text_places, plan.text_ids, strict=True)}
    names = [visual.get(int(place), text.get(int(place))) for place in own]
    branches = np.zeros(plan.num_tokens, np.int64) if plan.branches is None else plan.branches
    tokens = list(zip(names, plan.position_ids[own].tolist(), branches[own].tolist(), strict=True))
    return tokens, plan.columns[plan.read[plan.rows[plan.read] == row]].tolist()


@pytest.mark.parametrize("layout", ["separate", "rounds", "shared"])
@pytest.mark.parametrize(("num_retained", "text_start"), [(1, 1), (7, 7), (7, 64), (64, 64)])
def test_a_plan_is_what_its_prompts_say(
    demo_annotator: Annotator, layout: str, num_retained: int, text_start: int
) -> None:
    prompts = [
        prompt
        for phrases, template in ((PHRASES, None), (PHRASES[:1], TWICE), (PHRASES[1:], TWICE))
        for prompt in prompts_of(demo_annotator, layout, phrases, template)
    ]
    plan = plan_packing(prompts, num_retained, text_start=text_start)
    for row, prompt in enumerate(prompts):
        assert found(plan, row) == told(prompt, num_retained, text_start)
        assert len(found(plan, row)[0]) == packed_length(prompt, num_retained)
    lengths = [packed_length(prompt, num_retained) for prompt in prompts]
    assert (plan.num_prompts, plan.num_tokens, plan.width) == (len(prompts), sum(lengths), max(lengths))
    assert plan.num_slots == max(len(prompt.seg_indices) for prompt in prompts)
    assert plan.read_slots.tolist() == [slot for prompt in prompts for slot in range(len(prompt.seg_indices))]
    assert plan.rows[plan.read].tolist() == [row for row, prompt in enumerate(prompts) for _ in prompt.seg_indices]
    arrays = [value for value in vars(plan).values() if isinstance(value, np.ndarray)]
    assert {array.dtype for array in arrays} == {np.dtype(np.int64)}


def test_with_branches_all_text_lies_behind_all_visual_tokens(demo_annotator: Annotator) -> None:
    prompts = [*prompts_of(demo_annotator, "shared", PHRASES), *prompts_of(demo_annotator, "shared", PHRASES[:1])]
    plan = plan_packing(prompts, 5, text_start=64)
    assert plan.visual_places.tolist() == list(range(10))
    assert plan.text_places.tolist() == list(range(10, plan.num_tokens))
    first = {branch: int(np.flatnonzero(plan.branches == branch)[0]) for branch in (1, 2, 3)}
    assert {plan.position_ids[place] for place in first.values()} == {len(plan.prefix_ids) + 64}


def test_prompts_that_begin_differently_are_not_packed(demo_annotator: Annotator) -> None:
    (prompt,) = prompts_of(demo_annotator, "separate", PHRASES[:1])
    other = Prompt(
        input_ids=(2, *prompt.input_ids[1:]), image_index=prompt.image_index, seg_indices=prompt.seg_indices,
        phrase_indices=(0,),
    )  # fmt: skip
    with pytest.raises(AssertionError, match="begin differently"):
        plan_packing([prompt, other], 5, text_start=5)
