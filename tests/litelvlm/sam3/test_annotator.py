"""SAM 3's masks: those of transformers' own processing, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from litelvlm.engine.request import AnnotationResult
from litelvlm.sam3.annotator import Sam3Annotator
from litelvlm.sam3.loading import load_sam3
from litelvlm.sam3.preprocess import Sam3Preprocessor

SIZES_HW = ((50, 70), (333, 201), (64, 64))
PHRASES = (["a red circle", "the star"], ["zebra crossing"], ["dog", "a red circle", "the leftmost blue square"])


def image(number: int, size_hw: tuple[int, int]) -> np.ndarray:
    """A gradient with a disc."""
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    rgb = np.zeros((*size_hw, 3), dtype=np.uint8)
    rgb[..., number % 3] = (columns * 3 + 40 * number) % 255
    rgb[(rows - 20) ** 2 + (columns - 10 * number - 10) ** 2 < 150] = 255 - 40 * number
    return rgb


IMAGES = [image(number, size_hw) for number, size_hw in enumerate(SIZES_HW)]


@pytest.fixture(scope="module")
def preprocessor(sam3_tiny: Path) -> Sam3Preprocessor:
    return Sam3Preprocessor(sam3_tiny)


@pytest.fixture(scope="module")
def model(preprocessor: Sam3Preprocessor) -> Any:
    return load_sam3(preprocessor.checkpoint, torch.device("cpu"), torch.float32)


@pytest.fixture
def annotator(model: Any, preprocessor: Sam3Preprocessor) -> Sam3Annotator:
    return Sam3Annotator(model, preprocessor, 0.5)


@pytest.fixture(scope="module")
def results(model: Any, preprocessor: Sam3Preprocessor) -> list[AnnotationResult]:
    return Sam3Annotator(model, preprocessor, 0.5).annotate([preprocessor.prepare(rgb) for rgb in IMAGES], PHRASES)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0


def published(model: Any, processor: Any, rgb: np.ndarray, phrase: str, threshold: float) -> tuple[np.ndarray, float]:
    """The union of the instances of transformers' own post-processing, and the best score."""
    inputs = processor(images=rgb, text=phrase, return_tensors="pt")
    inputs.pop("original_sizes")
    with torch.inference_mode():
        output = model(**inputs)
    (found,) = processor.post_process_instance_segmentation(
        output, threshold=threshold, mask_threshold=0.5, target_sizes=[rgb.shape[:2]]
    )
    mask = found["masks"].bool().any(dim=0).numpy() if len(found["masks"]) else np.zeros(rgb.shape[:2], dtype=bool)
    return mask, float((output.pred_logits.sigmoid() * output.presence_logits.sigmoid()).max())


@pytest.mark.slow
def test_masks_are_those_of_transformers(sam3_tiny: Path, preprocessor: Sam3Preprocessor) -> None:
    from transformers import Sam3Model, Sam3Processor

    model = Sam3Model.from_pretrained(sam3_tiny, local_files_only=True).eval()
    processor = Sam3Processor.from_pretrained(sam3_tiny, local_files_only=True)
    shares = []
    for threshold in (0.5, 0.9):
        annotator = Sam3Annotator.from_directory(sam3_tiny, instance_threshold=threshold)
        found = annotator.annotate([preprocessor.prepare(rgb) for rgb in IMAGES], PHRASES)
        for rgb, asked, result in zip(IMAGES, PHRASES, found, strict=True):
            for phrase, mask, score in zip(asked, result.iter_masks(), result.scores, strict=True):
                wanted, best = published(model, processor, rgb, phrase, threshold)
                assert iou(mask, wanted) >= 0.999
                assert score == pytest.approx(best, abs=1e-4)
                shares.append(round(float(wanted.mean()), 3))
    assert min(shares) == 0.0
    assert any(0.05 < share < 0.95 for share in shares), shares


def test_a_result_says_what_it_took(preprocessor: Sam3Preprocessor, results: list[AnnotationResult]) -> None:
    assert [one.size_hw for one in results] == list(SIZES_HW)
    assert [one.num_prompts for one in results] == [2, 1, 3]
    assert {(one.num_visual_tokens, one.num_retained_tokens) for one in results} == {(64, 64)}
    assert results[1].num_text_tokens == preprocessor.tokenize(PHRASES[1])[1].sum()
    for one in results:
        assert one.absent_probability is not None
        assert one.absent is None
        assert ((one.scores >= 0) & (one.scores + one.absent_probability <= 1.0 + 1e-6)).all()
        assert {int(lengths.sum()) for lengths in one.run_lengths} == {one.size_hw[0] * one.size_hw[1]}
        assert [list(kept) for kept in one.retained] == [list(range(64))] * one.num_phrases


@pytest.mark.parametrize("batch_images", [1, 3])
def test_results_do_not_depend_on_the_batch(
    annotator: Sam3Annotator, preprocessor: Sam3Preprocessor, results: list[AnnotationResult], batch_images: int
) -> None:
    prepared = [preprocessor.prepare(rgb) for rgb in IMAGES]
    found = annotator.annotate(prepared[::-1], PHRASES[::-1], batch_images=batch_images)
    assert_same(found[::-1], results)


def test_a_phrase_alone_gets_the_mask_that_it_gets_among_others(
    annotator: Sam3Annotator, preprocessor: Sam3Preprocessor, results: list[AnnotationResult]
) -> None:
    for rgb, asked, result in zip(IMAGES, PHRASES, results, strict=True):
        for phrase, mask in zip(asked, result.masks, strict=True):
            (alone,) = annotator.annotate([preprocessor.prepare(rgb)], [[phrase]])
            assert iou(alone.masks[0], mask) >= 0.999


def assert_same(found: Sequence[AnnotationResult], wanted: Sequence[AnnotationResult]) -> None:
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
        for mask, expected in zip(one.masks, other.masks, strict=True):
            assert iou(mask, expected) >= 0.999


def test_an_encoded_image_answers_as_a_prepared_one(
    annotator: Sam3Annotator, preprocessor: Sam3Preprocessor, results: list[AnnotationResult]
) -> None:
    encoded = annotator.encode([preprocessor.prepare(rgb) for rgb in IMAGES])
    before = annotator.stage_seconds["sam"]
    assert_same(annotator.annotate(encoded, PHRASES), results)
    assert annotator.stage_seconds["sam"] == before
    assert annotator.stage_seconds["decode_masks"] > 0


def test_an_image_without_phrases_has_an_empty_result(annotator: Sam3Annotator, preprocessor: Sam3Preprocessor) -> None:
    (result,) = annotator.annotate([preprocessor.prepare(IMAGES[0])], [[]])
    assert (result.num_phrases, result.masks.shape) == (0, (0, 50, 70))


@pytest.mark.slow
def test_micro_batches_shrink_when_memory_runs_out(
    annotator: Sam3Annotator,
    preprocessor: Sam3Preprocessor,
    results: list[AnnotationResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward, asked = annotator._forward, []

    def narrow(images: Sequence[Any], texts: Sequence[Any]) -> Any:
        asked.append(len(texts))
        if len(texts) > 1:
            raise torch.OutOfMemoryError("too many phrases")
        return forward(images, texts)

    monkeypatch.setattr(annotator, "_forward", narrow)
    assert_same(annotator.annotate([preprocessor.prepare(rgb) for rgb in IMAGES], PHRASES), results)
    assert annotator.batch_limits["decode_masks"] == 1
    assert asked == [2, 1, 1, 1, 1, 1, 1]


def test_phrases_are_remembered_up_to_a_limit(
    annotator: Sam3Annotator, preprocessor: Sam3Preprocessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("litelvlm.sam3.annotator._MAX_TEXTS", 2)
    tokenized: list[str] = []
    tokenize = preprocessor.tokenize

    def counted(phrases: Sequence[str]) -> Any:
        tokenized.extend(phrases)
        return tokenize(phrases)

    monkeypatch.setattr(preprocessor, "tokenize", counted)
    prepared = preprocessor.prepare(IMAGES[0])
    for phrases in (["dog", "cat", "dog"], ["cat"], ["owl"], ["dog"]):
        annotator.annotate([prepared], [phrases])
    assert tokenized == ["dog", "cat", "owl", "dog"]


def test_weights_and_settings_that_do_not_fit_are_refused(sam3_tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^precision: SAM 3 does not run in fp8; use bf16 or fp32$"):
        Sam3Annotator.from_directory(sam3_tiny, dtype="float8")
    monkeypatch.setattr(Sam3Preprocessor, "vocab_size", 10_000)
    with pytest.raises(ValueError, match=r"^model: the tokeniser has 10000 ids but the text encoder only 2562; "):
        Sam3Annotator.from_directory(sam3_tiny)


def test_it_runs_in_bfloat16(sam3_tiny: Path, preprocessor: Sam3Preprocessor) -> None:
    annotator = Sam3Annotator.from_directory(sam3_tiny, dtype="bfloat16")
    (result,) = annotator.annotate([preprocessor.prepare(IMAGES[0])], [["dog"]])
    assert 0.0 <= result.scores[0] <= 1.0
    assert result.scores.dtype == np.float32
