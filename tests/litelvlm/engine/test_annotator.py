"""The engine's promises: independence of batching, layouts, shapes, clear errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from litelvlm import AnnotationRequest, Annotator, PromptTemplate, PruningConfig
from litelvlm.config import LAYOUTS
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY, mask_iou

pytestmark = pytest.mark.slow

PHRASES = ["dog", "the second person from the left, in a red coat", "sky", "a", "zebra crossing", "it"]


def _requests(seed: int, count: int) -> list[AnnotationRequest]:
    """Smooth random images of mixed sizes with 1 to 4 phrases."""
    rng = np.random.default_rng(seed)
    requests = []
    for _ in range(count):
        height, width = (int(side) for side in rng.integers(40, 260, 2))
        coarse = rng.integers(0, 255, (6, 6, 3)).astype(np.uint8)
        image = coarse.repeat(-(-height // 6), 0).repeat(-(-width // 6), 1)[:height, :width]
        phrases = [str(phrase) for phrase in rng.choice(PHRASES, int(rng.integers(1, 5)), replace=False)]
        requests.append(AnnotationRequest(image=image, phrases=phrases))
    return requests


@pytest.mark.parametrize("checkpoint", ["tiny", "demo"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_results_do_not_depend_on_batching(request: pytest.FixtureRequest, checkpoint: str, layout: Any) -> None:
    annotator: Annotator = request.getfixturevalue(f"{checkpoint}_annotator")
    pruning = PruningConfig(num_retain_tokens=annotator.num_visual_tokens // 3)
    requests = _requests(1, 3 if checkpoint == "tiny" else 9)
    alone = [annotator.annotate([r], pruning=pruning, layout=layout)[0] for r in requests]
    rng = np.random.default_rng(2)
    for batch_images in (2, 4):
        order = rng.permutation(len(requests))
        batched = annotator.annotate([requests[i] for i in order], pruning, layout, batch_images=batch_images)
        for i, result in zip(order, batched, strict=True):
            assert [r.tolist() for r in result.retained] == [r.tolist() for r in alone[i].retained]
            np.testing.assert_allclose(result.scores, alone[i].scores, atol=1e-4)
            for mask, other in zip(result.masks, alone[i].masks, strict=True):
                assert mask_iou(mask, other) >= 0.999


def test_separate_phrases_do_not_depend_on_each_other(demo_annotator: Annotator) -> None:
    image = _requests(3, 1)[0].image
    pruning = PruningConfig(num_retain_tokens=20, rule="paper")
    together = demo_annotator.annotate([AnnotationRequest(image=image, phrases=PHRASES[:3])], pruning)[0]
    for index, phrase in enumerate(PHRASES[:3]):
        alone = demo_annotator.annotate([AnnotationRequest(image=image, phrases=[phrase])], pruning)[0]
        assert mask_iou(alone.masks[0], together.masks[index]) >= 0.999
        assert alone.retained[0].tolist() == together.retained[index].tolist()


@pytest.mark.parametrize("positions", ["compact", "original"])
@pytest.mark.parametrize("num_retain_tokens", [None, 20])
def test_shared_equals_separate_with_the_same_kept_tokens(
    demo_annotator: Annotator, num_retain_tokens: Any, positions: str
) -> None:
    """The rule `context` keeps the same tokens for every phrase, whichever way they are asked."""
    requests = _requests(12, 2)
    pruning = PruningConfig(num_retain_tokens=num_retain_tokens, rule="context", positions=positions)
    separate = demo_annotator.annotate(requests, pruning, "separate")
    shared = demo_annotator.annotate(requests, pruning, "shared")
    for first, second in zip(separate, shared, strict=True):
        assert second.num_prompts == 1
        np.testing.assert_allclose(first.mask_prompts, second.mask_prompts, atol=1e-5)


def test_shared_chooses_tokens_for_all_phrases_together(
    demo_annotator: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = _requests(13, 1)[0]
    request = AnnotationRequest(image=request.image, phrases=PHRASES)
    pruning = PruningConfig(num_retain_tokens=24, rule="release")
    shared = demo_annotator.annotate([request], pruning, "shared")[0]
    rounds = demo_annotator.annotate([request], pruning, "rounds")[0]
    assert [r.tolist() for r in shared.retained] == [r.tolist() for r in rounds.retained]
    monkeypatch.setattr("litelvlm.prompts.MAX_SHARED_TEXT_TOKENS", 200)
    split = demo_annotator.annotate([request], pruning, "shared")[0]
    assert split.num_prompts > 1
    np.testing.assert_allclose(split.mask_prompts, shared.mask_prompts, atol=1e-5)


def test_later_rounds_see_earlier_ones(demo_annotator: Annotator) -> None:
    image = _requests(3, 1)[0].image
    pair = demo_annotator.annotate([AnnotationRequest(image=image, phrases=["dog", "sky"])], layout="rounds")[0]
    other = demo_annotator.annotate([AnnotationRequest(image=image, phrases=["cat", "sky"])], layout="rounds")[0]
    assert np.abs(pair.mask_prompts[1] - other.mask_prompts[1]).max() > 1e-4


def test_shapes_and_ranges(tiny_annotator: Annotator) -> None:
    requests = _requests(4, 3)
    for request, result in zip(requests, tiny_annotator.annotate(requests), strict=True):
        num, (height, width) = len(request.phrases), request.image.shape[:2]
        assert result.masks.shape == (num, height, width)
        assert result.masks.dtype == bool
        assert result.scores.shape == (num,)
        assert ((result.scores >= 0) & (result.scores <= 1)).all()
        assert result.low_res_logits.shape == (num, 256, 256)
        assert result.mask_prompts.shape == (num, 32)
        assert result.num_retained_tokens == result.num_visual_tokens == 64
        assert [r.tolist() for r in result.retained] == [list(range(64))] * num
        np.testing.assert_array_equal(np.stack(list(result.iter_masks())), result.masks)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (2, 300), (333, 7)])
def test_extreme_sizes(demo_annotator: Annotator, size: Any) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    result = demo_annotator.annotate([AnnotationRequest(image=image, phrases=["dog"])])[0]
    assert result.masks.shape == (1, *size)
    assert np.isfinite(result.scores).all()


def test_a_prepared_image_gives_the_same(demo_annotator: Annotator) -> None:
    request = _requests(5, 1)[0]
    prepared = demo_annotator.preprocessor.prepare(request.image)
    first = demo_annotator.annotate([request])[0]
    second = demo_annotator.annotate([AnnotationRequest(image=prepared, phrases=request.phrases)])[0]
    np.testing.assert_array_equal(first.masks, second.masks)


def test_no_requests_and_no_phrases(demo_annotator: Annotator) -> None:
    assert demo_annotator.annotate([]) == []
    first, *_ = requests = _requests(6, 2)
    bare = AnnotationRequest(image=first.image, phrases=[])
    results = demo_annotator.annotate([requests[0], bare, requests[1]])
    assert [r.num_phrases for r in results] == [len(requests[0].phrases), 0, len(requests[1].phrases)]
    assert results[1].masks.shape == (0, *first.image.shape[:2])


def test_hundreds_of_phrases_on_one_image(demo_annotator: Annotator) -> None:
    image = _requests(7, 1)[0].image
    phrases = [f"object {i}" for i in range(60)]
    for layout in LAYOUTS:
        result = demo_annotator.annotate([AnnotationRequest(image=image, phrases=phrases)], layout=layout)[0]
        assert result.num_phrases == len(result.retained) == 60
        assert result.num_prompts == 60 if layout == "separate" else result.num_prompts < 60


def test_original_positions_change_nothing_when_nothing_is_pruned(demo_annotator: Annotator) -> None:
    requests = _requests(8, 2)
    compact = demo_annotator.annotate(requests, PruningConfig())
    original = demo_annotator.annotate(requests, PruningConfig(positions="original"))
    for first, second in zip(compact, original, strict=True):
        np.testing.assert_allclose(first.mask_prompts, second.mask_prompts, atol=1e-5)


def test_order_and_positions_matter_when_tokens_are_pruned(demo_annotator: Annotator) -> None:
    requests = _requests(9, 1)
    prompts = [
        demo_annotator.annotate(requests, PruningConfig(num_retain_tokens=20, order=order, positions=positions))[0]
        for order, positions in (("release", "compact"), ("raster", "compact"), ("raster", "original"))
    ]
    kept = [sorted(result.retained[0].tolist()) for result in prompts]
    assert kept[0] == kept[1] == kept[2]
    assert np.abs(prompts[1].mask_prompts - prompts[2].mask_prompts).max() > 1e-4


def test_raster_and_original_positions_in_a_literal_prompt(tiny_annotator: Annotator) -> None:
    """The kept tokens and everything after them carry the ids that they have in the unpruned prompt."""
    from litelvlm.engine.packing import plan_packing
    from litelvlm.prompts import build_prompts

    tokenizer = tiny_annotator.preprocessor.tokenizer
    (prompt,) = build_prompts(["dog"], PromptTemplate(), tokenizer, layout="rounds", max_text_tokens=500)
    retained = torch.tensor([[3, 10, 63]])
    start = prompt.image_index
    plan = plan_packing([prompt], 3, text_start=64)
    packed = tiny_annotator._runner.pack(plan, torch.zeros(1, 64, 48), [0], retained, original=True)
    expected = [start + 3, start + 10, start + 63, *range(start + 64, start + 64 + plan.num_tokens - 3)]
    assert packed.position_ids.tolist() == expected


def test_bfloat16_runs_and_stays_close(tiny_annotator: Annotator) -> None:
    annotator = Annotator.from_pretrained(GLAMM_TINY, clip=CLIP_TINY, dtype="bfloat16")
    requests = _requests(10, 2)
    pruning = PruningConfig(num_retain_tokens=64, rule="context")
    for exact, rounded in zip(
        tiny_annotator.annotate(requests, pruning), annotator.annotate(requests, pruning), strict=True
    ):
        scale = np.abs(exact.mask_prompts).max()
        assert np.abs(exact.mask_prompts - rounded.mask_prompts).max() < 0.06 * scale
        assert rounded.scores.dtype == np.float32


def test_stage_seconds_add_up(demo_annotator: Annotator) -> None:
    before = demo_annotator.stage_seconds
    demo_annotator.annotate(_requests(11, 1))
    after = demo_annotator.stage_seconds
    assert set(after) == {"clip", "prune", "llm", "sam", "decode_masks", "masks"}
    assert all(after[name] > before[name] for name in ("clip", "llm", "sam", "decode_masks"))


IMAGE = np.zeros((20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("image", "phrases", "message"),
    [
        (IMAGE.astype(np.float32), ["dog"], r"requests\[0\].image"),
        (IMAGE[..., 0], ["dog"], r"requests\[0\].image"),
        (IMAGE[:0], ["dog"], r"no pixels"),
        ("a.jpg", ["dog"], r"requests\[0\].image"),
        (IMAGE, "dog", r"requests\[0\].phrases: must be a list"),
        (IMAGE, ["dog", " "], r"requests\[0\].phrases\[1\]: phrase is empty"),
    ],
)
def test_bad_requests_name_the_field(demo_annotator: Annotator, image: Any, phrases: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        demo_annotator.annotate([AnnotationRequest(image=image, phrases=phrases)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"layout": "spiral"}, "layout"), ({"batch_images": 0}, "batch_images")],
)
def test_bad_arguments_name_the_field(demo_annotator: Annotator, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        demo_annotator.annotate([], **arguments)


def test_embeddings_of_phrases_are_remembered_each_by_itself(tiny_annotator: Annotator) -> None:
    template, phrases = tiny_annotator.config.template, ["a zebra", "a much longer phrase about two zebras"]
    tiny_annotator.embed(["  A Zebra ", phrases[1]])
    together = tiny_annotator._runner.embed_questions([template.ask(one) for one in phrases])
    for phrase in phrases:
        question = template.ask(phrase)
        alone = Annotator.from_pretrained(GLAMM_TINY, clip=CLIP_TINY)._runner.embed_questions([question])
        assert torch.equal(together[question], alone[question])
    with pytest.raises(ValueError, match="empty"):
        tiny_annotator.embed([" "])
