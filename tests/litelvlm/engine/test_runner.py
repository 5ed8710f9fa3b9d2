"""Stages of the forward pass: what is remembered, and which image belongs to which phrase."""

from __future__ import annotations

import pytest
import torch

from litelvlm import Annotator
from litelvlm.clip_encoder import ClipFeatures
from litelvlm.clip_tokenizer import load_clip_tokenizer
from litelvlm.engine.retention import Retained
from litelvlm.engine.runner import Runner


@pytest.fixture
def runner(demo_annotator: Annotator) -> Runner:
    """One that remembers nothing yet."""
    sizes, merges = demo_annotator.config.clip, demo_annotator.checkpoint.clip_merges
    return Runner(demo_annotator.model, load_clip_tokenizer(merges, sizes.context_length))


@pytest.fixture
def batches(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each call of CLIP's text tower got."""
    counts: list[int] = []
    encode = runner.model.clip.encode_texts

    def counted(tokens: torch.Tensor) -> torch.Tensor:
        counts.append(len(tokens))
        return encode(tokens)

    monkeypatch.setattr(runner.model.clip, "encode_texts", counted)
    return counts


@torch.inference_mode()
def test_a_question_is_embedded_once_in_batches_of_64(runner: Runner, batches: list[int]) -> None:
    questions = [f"where is thing {number}" for number in range(65)]
    first = runner.embed_questions([*questions, questions[0]])
    assert batches == [64, 1]
    assert list(first) == questions
    again = runner.embed_questions([questions[4], "and the sky"])
    assert batches == [64, 1, 1]
    assert again[questions[4]] is first[questions[4]]
    alone = runner.model.clip.encode_texts(runner._clip_tokenizer(["and the sky"]))[0]
    torch.testing.assert_close(again["and the sky"], alone)


@torch.inference_mode()
def test_of_too_many_questions_the_longest_unasked_is_forgotten(
    runner: Runner, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("litelvlm.engine.runner._TEXT_CACHE_SIZE", 2)
    assert set(runner.embed_questions(["a", "b", "c"])) == {"a", "b", "c"}  # more than fit are answered all the same
    runner.embed_questions(["b"])
    runner.embed_questions(["d"])  # c goes, b was asked since
    del batches[:]
    runner.embed_questions(["b", "d"])
    assert batches == []
    runner.embed_questions(["c"])
    assert batches == [1]


@torch.inference_mode()
def test_each_phrase_is_decoded_on_its_own_image(runner: Runner) -> None:
    sizes = runner.model.config.sam
    images = torch.randn(2, sizes.output_channels, sizes.grid_size, sizes.grid_size)
    prompts = torch.randn(3, sizes.output_channels)
    logits, iou = runner.decode(images, [1, 0, 1], prompts)
    for row, image in enumerate((1, 0, 1)):
        expected, expected_iou = runner.model.grounding_encoder.decode_masks(
            images[image : image + 1], prompts[row : row + 1]
        )
        torch.testing.assert_close(logits[row], expected[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(iou[row], expected_iou[0], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_what_is_projected(runner: Runner) -> None:
    """Merged features where there are any; what the rule has projected is not projected again."""
    width = runner.model.config.clip.vision_width
    features = ClipFeatures(torch.randn(1, 4, width), torch.zeros(1), torch.zeros(1, 4))
    places, merged = torch.zeros(1, 2, dtype=torch.int64), torch.randn(1, 2, width)
    ready = torch.randn(1, 4, runner.model.config.llm.hidden_size)
    project = runner.model.projector
    torch.testing.assert_close(runner.project(features), project(features.patches))
    plain = Retained(indices=places, sources=places)
    torch.testing.assert_close(runner.project(features, plain), project(features.patches))
    looked_at = Retained(indices=places, sources=places, projected=ready)
    assert torch.equal(runner.project(features, looked_at), ready)
    folded = Retained(indices=places, sources=places, merged=merged, projected=ready)
    torch.testing.assert_close(runner.project(features, folded), project(merged))


@torch.inference_mode()
def test_what_all_prompts_begin_with_is_computed_once(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    first = runner._prefix((1, 5, 9))
    monkeypatch.setattr(runner._llama, "prefix", lambda ids: pytest.fail(f"computed again: {ids}"))
    assert runner._prefix((1, 5, 9)) is first
