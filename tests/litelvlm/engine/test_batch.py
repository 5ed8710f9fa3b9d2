"""Batches launched ahead, images encoded once, and what results hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from litelvlm import AnnotationRequest, Annotator, PromptTemplate, PruningConfig
from litelvlm.config import LAYOUTS, GlammConfig
from litelvlm.engine.batch import BatchRunner
from litelvlm.engine.packing import packed_length
from litelvlm.engine.scheduler import prompt_batches
from litelvlm.prompts import build_prompts
from tests.litelvlm.engine.test_annotator import _requests

pytestmark = pytest.mark.slow

PRUNING = PruningConfig(num_retain_tokens=20, rule="paper")


def assert_same(first: Any, second: Any) -> None:
    """Two results hold the same masks, scores and tokens."""
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-4)
    assert [kept.tolist() for kept in first.retained] == [kept.tolist() for kept in second.retained]
    assert first.size_hw == second.size_hw
    assert (first.masks != second.masks).sum() <= 1e-3 * first.masks.size


@pytest.fixture
def encodes(demo_annotator: Annotator, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call of SAM's encoder got."""
    counts: list[int] = []
    encode_sam = demo_annotator._runner.encode_sam
    monkeypatch.setattr(
        demo_annotator._runner,
        "encode_sam",
        lambda images: (counts.append(len(images)), encode_sam(images))[1],  # type: ignore[func-returns-value]
    )
    return counts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_image_is_encoded_once_whatever_the_number_of_phrases(
    demo_annotator: Annotator, encodes: list[int], layout: Any
) -> None:
    image = _requests(3, 1)[0].image
    requests = [AnnotationRequest(image=image, phrases=[f"thing {n}" for n in range(count)]) for count in (1, 40, 3)]
    demo_annotator.annotate(requests, PRUNING, layout)
    assert sum(encodes) == 3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_encoded_image_is_asked_again_without_encoding(
    demo_annotator: Annotator, encodes: list[int], layout: Any
) -> None:
    requests = _requests(4, 2)
    encoded = demo_annotator.encode([request.image for request in requests])  # type: ignore[misc]
    assert sum(encodes) == 2
    again = [AnnotationRequest(image=one, phrases=r.phrases) for one, r in zip(encoded, requests, strict=True)]
    for budget in (20, 7, None):
        pruning = PruningConfig(num_retain_tokens=budget, rule="paper")
        del encodes[:]
        results = demo_annotator.annotate(again, pruning, layout)
        assert encodes == []
        for result, other in zip(results, demo_annotator.annotate(requests, pruning, layout), strict=True):
            assert_same(result, other)


def test_encoded_and_new_images_share_a_batch(demo_annotator: Annotator, encodes: list[int]) -> None:
    requests = _requests(5, 3)
    (encoded,) = demo_annotator.encode([requests[1].image])  # type: ignore[list-item]
    mixed = [requests[0], AnnotationRequest(image=encoded, phrases=requests[1].phrases), requests[2]]
    results = demo_annotator.annotate(mixed, PRUNING)
    assert sum(encodes) == 3
    for result, other in zip(results, demo_annotator.annotate(requests, PRUNING), strict=True):
        assert_same(result, other)


def test_the_next_batch_is_launched_before_the_last_is_collected(
    demo_annotator: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    launch, collect = BatchRunner.launch, BatchRunner.collect
    monkeypatch.setattr(
        BatchRunner,
        "launch",
        lambda self, *args, **kwargs: (steps.append("launch"), launch(self, *args, **kwargs))[1],  # type: ignore[func-returns-value]
    )
    monkeypatch.setattr(BatchRunner, "collect", lambda self, batch: (steps.append("collect"), collect(self, batch))[1])  # type: ignore[func-returns-value]
    demo_annotator.annotate(_requests(6, 3), PRUNING, batch_images=1)
    assert steps == ["launch", "launch", "collect", "launch", "collect", "collect"]


def test_logits_of_very_many_phrases_are_read_as_they_come(
    demo_annotator: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = _requests(7, 2)
    expected = demo_annotator.annotate(requests, PRUNING)
    monkeypatch.setattr("litelvlm.engine.batch._MOST_UNREAD", 0)
    for result, other in zip(demo_annotator.annotate(requests, PRUNING), expected, strict=True):
        assert_same(result, other)


def test_logits_are_kept_only_where_they_are_wanted(tiny_annotator: Annotator) -> None:
    request = _requests(8, 1)[0]
    with_logits, without = (
        tiny_annotator.annotate(
            [request, AnnotationRequest(image=request.image, phrases=[])], PRUNING, keep_logits=keep
        )
        for keep in (True, False)
    )
    assert with_logits[0].low_res_logits.shape == (len(request.phrases), 256, 256)
    assert [result.low_res_logits for result in without] == [None, None]
    assert_same(with_logits[0], without[0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_template_for_each_phrase(demo_annotator: Annotator, layout: Any) -> None:
    image = _requests(9, 1)[0].image
    other = PromptTemplate(question="Where is the {phrase}? Please segment it.", answer="Sure, it is [SEG].")
    templates = [PromptTemplate(), other]
    request = AnnotationRequest(image=image, phrases=["dog", "sky"], templates=templates)
    mixed = demo_annotator.annotate([request], PRUNING, layout)[0]
    if layout == "separate":
        for index, template in enumerate(templates):
            alone = AnnotationRequest(image=image, phrases=[request.phrases[index]])
            result = demo_annotator.annotate([alone], PRUNING, layout, template)[0]
            np.testing.assert_allclose(mixed.mask_prompts[index], result.mask_prompts[0], atol=1e-5)
    plain = demo_annotator.annotate([AnnotationRequest(image=image, phrases=["dog", "sky"])], PRUNING, layout)[0]
    assert np.abs(mixed.mask_prompts[1] - plain.mask_prompts[1]).max() > 1e-4


def test_as_many_templates_as_phrases(demo_annotator: Annotator) -> None:
    request = AnnotationRequest(image=_requests(9, 1)[0].image, phrases=["dog", "sky"], templates=[PromptTemplate()])
    with pytest.raises(ValueError, match=r"requests\[0\].templates: must be as many"):
        demo_annotator.annotate([request])


def test_an_image_that_cannot_be_encoded_is_named(demo_annotator: Annotator) -> None:
    with pytest.raises(ValueError, match=r"images\[1\].image"):
        demo_annotator.encode([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("budget", [48, 192])
def test_padding_costs_two_percent_at_most(demo_annotator: Annotator, layout: Any, budget: int) -> None:
    """Of the language model's operations, for phrases of very different lengths; linear layers have none at all."""
    rng = np.random.default_rng(0)
    words = [
        "the",
        "large",
        "red",
        "circle",
        "that",
        "is",
        "left",
        "of",
        "a",
        "small",
        "blue",
        "star",
        "and",
        "above",
        "everything",
        "else",
        "in",
        "it",
    ]
    tokenizer = demo_annotator.preprocessor.tokenizer
    for config, limit in ((demo_annotator.config, 2048), (GlammConfig(), 16384)):
        prompts = [
            prompt
            for _ in range(32)
            for prompt in build_prompts(
                [" ".join(words[: rng.integers(1, len(words))]) for _ in range(3)],
                PromptTemplate(),
                tokenizer,
                layout=layout,
                max_text_tokens=900,
            )
        ]
        lengths = [packed_length(prompt, budget) for prompt in prompts]
        passes = []
        for group in prompt_batches(lengths, limit):
            own = [lengths[i] for i in group]
            passes.append(
                {
                    "tokens": sum(own),
                    "rows": len(own),
                    "width": max(own),
                    "prefix": prompts[0].image_index,
                    "lengths": own,
                }
            )
        assert 0 <= _padding_waste(config, passes) <= 0.02


def _padding_waste(config: GlammConfig, passes: list[dict[str, Any]]) -> float:
    """Share of the language model's operations that padding costs: none in linear layers, some in attention."""
    llm = config.llm
    width, inner = llm.hidden_size, llm.intermediate_size
    kv_width = width * llm.num_key_value_heads // llm.num_attention_heads
    per_token = 2 * (2 * width**2 + 2 * width * kv_width + 3 * width * inner)
    needed = computed = 0.0
    for one in passes:
        linear = per_token * one["tokens"]
        needed += linear + 4 * width * sum(length * (one["prefix"] + length) for length in one["lengths"])
        computed += linear + 4 * width * one["rows"] * one["width"] * (one["prefix"] + one["width"])
    return 1 - needed / computed


def test_a_call_is_launched_before_the_last_of_the_one_before_it_is_collected(
    demo_annotator: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [_requests(1, 3), [], _requests(2, 1), [AnnotationRequest(image=_requests(3, 1)[0].image, phrases=[])]]
    wanted = [demo_annotator.annotate(call, PRUNING, batch_images=2) for call in calls]
    log: list[str] = []
    batches: list[Any] = []
    launch, collect = demo_annotator._batches.launch, demo_annotator._batches.collect

    def noted_launch(batch: Any, *args: Any, **kwargs: Any) -> Any:
        batches.append(launched := launch(batch, *args, **kwargs))
        log.append(f"launch {len(batches) - 1}")
        return launched

    def noted_collect(launched: Any) -> Any:
        log.append(f"collect {next(n for n, one in enumerate(batches) if one is launched)}")
        return collect(launched)

    monkeypatch.setattr(demo_annotator._batches, "launch", noted_launch)
    monkeypatch.setattr(demo_annotator._batches, "collect", noted_collect)
    found = []
    for results in demo_annotator.annotate_each(iter(calls), PRUNING, batch_images=2):
        found.append(results)
        log.append(f"out {len(found) - 1}")
    assert log == [
        *("launch 0", "launch 1", "collect 0", "launch 2", "collect 1", "out 0", "out 1", "collect 2", "out 2", "out 3")
    ]
    assert [len(results) for results in found] == [3, 0, 1, 1]
    for results, others in zip(found, wanted, strict=True):
        for one, other in zip(results, others, strict=True):
            assert_same(one, other)
            assert [list(lengths) for lengths in one.run_lengths] == [list(lengths) for lengths in other.run_lengths]
