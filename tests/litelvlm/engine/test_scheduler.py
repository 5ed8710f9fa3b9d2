"""What runs together: images in order, prompts of a length."""

from __future__ import annotations

import pytest

from litelvlm.engine.scheduler import image_batches, prompt_batches


def test_image_batches_leave_out_images_without_phrases() -> None:
    assert image_batches([1, 0, 2, 3, 0, 1], 2) == [[0, 2], [3, 5]]
    assert image_batches([0, 0], 2) == []


def test_image_batches_grow_until_they_have_tokens_enough() -> None:
    phrases, tokens = [1, 1, 0, 1, 1, 1, 1], [10, 10, 0, 10, 40, 10, 10]
    grown = image_batches(phrases, 2, tokens=tokens, least_tokens=40)
    assert grown == [[0, 1, 3, 4], [5, 6]]
    assert image_batches(phrases, 2, tokens=tokens, least_tokens=20) == image_batches(phrases, 2)
    assert image_batches(phrases, 2, tokens=tokens, least_tokens=1000) == [[0, 1, 3, 4, 5, 6]]


def test_prompt_batches_hold_every_prompt_once_within_the_limit() -> None:
    lengths = [10, 200, 12, 11, 90, 10, 300]
    groups = prompt_batches(lengths, 100)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or max(lengths[i] for i in group) * len(group) <= 100


@pytest.mark.parametrize(
    ("lengths", "max_tokens", "groups"),
    [
        ([], 10, []),
        ([5, 5, 5], 10, [[0, 1], [2]]),  # exactly full is allowed
        ([5, 4, 6], 10, [[1, 0], [2]]),  # shortest first
        ([3, 3, 9], 9, [[0, 1], [2]]),  # a third one would pad the others to its length
        ([40, 50], 10, [[0], [1]]),  # longer than allowed: alone
        ([2, 1, 2, 1], 100, [[1, 3, 0, 2]]),  # equals keep their order
    ],
)
def test_prompt_batches(lengths: list[int], max_tokens: int, groups: list[list[int]]) -> None:
    assert prompt_batches(lengths, max_tokens) == groups
