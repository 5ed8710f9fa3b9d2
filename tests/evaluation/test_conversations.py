"""An image in two places is two conversations, which matters where its expressions are asked together."""

from __future__ import annotations

import pytest

from litelvlm.evaluation.conversations import Conversations, conversation_keys
from litelvlm.pipeline.shards.payload import ImageWork


def _image(key: str, height: int | None) -> ImageWork:
    return ImageWork(image_id=key, image_key=key, file_name="", drafts=[], height=height, width=height)


def test_images_that_could_not_be_read_have_no_conversation() -> None:
    assert conversation_keys([_image("a", 5), _image("b", None), _image("c", 5)]) == ["a", "c"]


@pytest.mark.parametrize("layout", ["rounds", "shared"])
def test_an_image_of_two_shards_is_refused(layout: str) -> None:
    seen = Conversations(layout)
    seen.add({"conversations": ["a", "b"]})
    seen.add({"conversations": ["c"]})
    with pytest.raises(ValueError, match=r"--input: .*several places.*jobs/ground_truth.py table"):
        seen.add({"conversations": ["d", "a"]})


def test_an_image_twice_in_a_shard_is_refused() -> None:
    with pytest.raises(ValueError, match="--input"):
        Conversations("rounds").add({"conversations": ["a", "a"]})


def test_expressions_asked_alone_may_stand_anywhere() -> None:
    seen = Conversations("separate")
    for _ in range(2):
        seen.add({"conversations": ["a"]})
