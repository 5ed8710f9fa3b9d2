"""From a rule to each prompt's tokens, on features whose scores can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
import torch

from litelvlm.clip_encoder import ClipFeatures
from litelvlm.config import PruningConfig
from litelvlm.engine.retention import ImagePrompt, Retained, retain
from litelvlm.glamm import GlammModel
from litelvlm.prompts import Prompt

# Two images of four tokens. What a question is like is one of the axes; an image's tokens lie along them.
PATCHES = torch.arange(16, dtype=torch.float32).reshape(2, 4, 2)
EMBEDDED = torch.stack([torch.eye(4), torch.eye(4).flip(0)])
CONTEXT = torch.tensor([[0.1, 0.4, 0.3, 0.2], [0.9, 0.1, 0.2, 0.8]])
FEATURES = ClipFeatures(PATCHES, EMBEDDED, CONTEXT)
NO_MODEL = cast(GlammModel, None)  # these rules ask it for nothing


def asked(image_index: int, *questions: str) -> ImagePrompt:
    prompt = Prompt(input_ids=(1, -200, 7), image_index=1, seg_indices=(2,), phrase_indices=(0,))
    return ImagePrompt(image_index=image_index, prompt=prompt, questions=questions)


def embed(questions: Sequence[str]) -> dict[str, torch.Tensor]:
    """A question is the axes that it names, the first the most."""
    return {text: sum(torch.eye(4)[int(axis)] * 2.0**-n for n, axis in enumerate(text)) for text in questions}  # type: ignore[misc]


def retained(prompts: list[ImagePrompt], rule: str, budget: int | None, order: str = "auto") -> Retained:
    pruning = PruningConfig(rule=rule, num_retain_tokens=budget, order=order)
    return retain(NO_MODEL, FEATURES, prompts, [5, 6], pruning, embed)


@pytest.mark.parametrize(("rule", "budget"), [("none", 2), ("release", None), ("release", 5), ("fastv", 2)])
def test_what_is_not_pruned_here_is_every_token_of_the_prompts_image(rule: str, budget: int | None) -> None:
    found = retained([asked(1, "0"), asked(0, "1"), asked(1, "2")], rule, budget)
    assert found.indices.tolist() == [[0, 1, 2, 3]] * 3
    assert found.sources.tolist() == [[4, 5, 6, 7], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert (found.num_tokens, found.merged) == (4, None)


def test_a_rule_that_reads_no_text_chooses_once_an_image() -> None:
    found = retained([asked(1, "0"), asked(0, "1"), asked(1, "2")], "context", 2)
    assert found.indices.tolist() == [[0, 3], [1, 2], [0, 3]]
    assert found.sources.tolist() == [[4, 7], [1, 2], [4, 7]]


def test_release_order_is_by_rank() -> None:
    assert retained([asked(0, "0")], "context", 3, order="release").indices.tolist() == [[1, 2, 3]]
    assert retained([asked(1, "0")], "context", 3, order="release").indices.tolist() == [[0, 3, 2]]


def test_a_rule_that_reads_text_chooses_for_each_prompt() -> None:
    """The second image's tokens lie along the axes in reverse."""
    found = retained([asked(0, "01"), asked(1, "01"), asked(0, "32")], "high_similarity", 2)
    assert found.indices.tolist() == [[0, 1], [2, 3], [2, 3]]
    assert found.sources.tolist() == [[0, 1], [6, 7], [2, 3]]


def test_prompts_with_fewer_questions_are_not_chosen_for_what_is_not_asked() -> None:
    found = retained([asked(0, "0", "1", "2"), asked(0, "3")], "high_similarity", 3)
    assert found.indices.tolist() == [[0, 1, 2], [0, 1, 3]]


def test_merged_tokens_are_made_of_the_patches_and_lie_prompt_by_prompt() -> None:
    found = retained([asked(0, "2"), asked(1, "3")], "trim", 2)
    assert found.merged is not None
    mean = (PATCHES[0].sum(0) - PATCHES[0, 2]) / 3
    torch.testing.assert_close(found.merged[0], torch.stack([PATCHES[0, 2], mean]))
    torch.testing.assert_close(found.merged[1, 0], PATCHES[1, 0])
    assert found.indices.tolist() == [[2, 0], [0, 1]]
    assert found.sources.tolist() == [[0, 1], [2, 3]]


def test_some_of_the_prompts() -> None:
    found = retained([asked(1, "0"), asked(0, "1"), asked(1, "2")], "context", 2).of([2, 1])
    assert found.sources.tolist() == [[4, 7], [1, 2]]
    assert found.indices.tolist() == [[0, 3], [1, 2]]
