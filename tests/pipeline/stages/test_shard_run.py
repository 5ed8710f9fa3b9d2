"""A shard's way through the model: batches, halving at errors, records."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.masks import EncodedMask, decode_mask
from litelvlm.pipeline.schemas import SHARD_SCHEMA
from litelvlm.pipeline.stages.device_clock import DeviceClock, DeviceShare
from litelvlm.pipeline.stages.shard_run import CALL_IMAGES, CALL_PHRASES, MASK_SIGNALS, ShardRun, model_calls
from litelvlm.pipeline.stages.timed_model import TimedModel
from tests.fakes import (
    ABSENT_PHRASE,
    BAD_PHRASE,
    EMPTY_PHRASE,
    NAN_PHRASE,
    FakeAnnotator,
    FakeDevice,
    FakeEngine,
    FakeResult,
    true_mask,
    true_score,
)
from tests.pipeline.samples import picture
from tests.pipeline.stages.shard_work import image_work, shard_work, timed_model


def shard_run(images: list[Any], engine: FakeEngine | None = None) -> ShardRun:
    engine = engine or FakeEngine()
    return ShardRun(engine, timed_model(engine), shard_work(images))


def test_a_record_says_what_the_model_said() -> None:
    run = shard_run([image_work(4, "a dog", EMPTY_PHRASE)])
    found, empty = run.annotate(range(1))
    assert set(found) == set(SHARD_SCHEMA.names)
    truth = true_mask(picture(4), "a dog")
    mask = EncodedMask(size_hw=(24, 32), counts=found["mask_rle"], area=0, bbox_xywh=(0, 0, 0, 0))
    np.testing.assert_array_equal(decode_mask(mask), truth)
    rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    assert (found["area"], found["bbox_xywh"]) == (truth.sum(), box)
    assert found["score"] == pytest.approx(true_score("a dog"))
    assert (found["status"], found["num_visual_tokens"], found["num_retained_tokens"]) == ("ok", 64, 21)
    assert (empty["status"], empty["area"], empty["mask_rle"], empty["bbox_xywh"]) == ("empty", 0, None, None)
    assert empty["score"] is None, "there is no mask that it could rate"
    assert (run.done.images, run.done.prompts, run.done.visual_tokens, run.done.retained_tokens) == (1, 2, 128, 42)
    assert run.done.text_tokens == len("a dog") + len(EMPTY_PHRASE)


def test_a_mask_comes_with_signals_and_what_is_empty_or_failed_with_none() -> None:
    work = image_work(4, "a dog", EMPTY_PHRASE, "poison")
    work.hash = "00ff00ff00ff00ff"
    run = shard_run([work], FakeEngine(break_on="poison"))
    records = run.annotate(range(1))
    run.compare(records)
    dog, *others = records
    mask = true_mask(picture(4), "a dog")
    sides = sum(side.any() for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    assert (dog["components"], dog["holes"], dog["borders"], dog["overlap"], dog["num_equal"]) == (1, 0, sides, 0.0, 0)
    assert dog["area_share"] == pytest.approx(mask.mean())
    assert {one["image_hash"] for one in records} == {"00ff00ff00ff00ff"}
    assert [one["status"] for one in others] == ["empty", "failed"]
    assert {one[name] for one in others for name in MASK_SIGNALS} == {None}


def test_what_the_model_was_asked_beside_comes_by_phrase_and_is_null_where_it_has_no_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeResult, "seg_probability", property(lambda result: np.array([0.25, 0.5], np.float32)))
    monkeypatch.setattr(FakeResult, "clip_similarity", property(lambda result: np.array([-0.5, np.nan], np.float32)))
    dog, empty = shard_run([image_work(4, "a dog", EMPTY_PHRASE)]).annotate(range(1))
    assert (dog["seg_probability"], dog["clip_similarity"]) == (0.25, -0.5)
    assert (empty["seg_probability"], empty["clip_similarity"]) == (0.5, None)
    assert empty["components"] is None


def test_what_the_model_rejects_is_absent_with_its_probability_and_without_a_mask() -> None:
    run = shard_run([image_work(4, "a dog", ABSENT_PHRASE, EMPTY_PHRASE)])
    records = run.annotate(range(1))
    run.compare(records)
    dog, absent, _ = records
    assert [one["status"] for one in records] == ["ok", "absent", "empty"]
    assert [one["absent_probability"] for one in records] == [0.125, 0.875, 0.125]
    assert true_mask(picture(4), ABSENT_PHRASE).any()
    assert (absent["mask_rle"], absent["score"], absent["area"], absent["bbox_xywh"]) == (None, None, 0, None)
    assert (dog["overlap"], dog["num_equal"], absent["components"]) == (0.0, 0, None)


def test_masks_are_compared_over_all_of_the_shard_however_it_was_annotated() -> None:
    images = [image_work(4, "a dog"), image_work(9, "a dog"), image_work(4, "a cow?", "A DOG")]
    run = shard_run(images)
    records = run.annotate(range(3))
    run.compare(records)
    dog, box = (true_mask(picture(4), phrase) for phrase in ("a dog", "a cow?"))
    iou = (dog & box).sum() / (dog | box).sum()
    assert [one["overlap"] for one in records] == pytest.approx([iou, 0.0, iou, iou])
    parts = shard_run(images)
    again = [one for at in range(3) for one in parts.annotate(range(at, at + 1))]
    parts.compare(again)
    assert again == records


def test_only_the_phrase_at_fault_fails() -> None:
    images = [image_work(number, "a dog", "the red box", "a cat") for number in range(5)]
    images[2].drafts[1].prompt = "poison"
    records = shard_run(images, FakeEngine(break_on="poison")).annotate(range(5))
    failed = [(one["source_row"], one["phrase_index"], one["error"]) for one in records if one["status"] == "failed"]
    assert failed == [(2, 1, "the model failed on this record: RuntimeError: the engine broke on poison")]
    assert [(one["source_row"], one["phrase_index"]) for one in records] == [
        (n, at) for n in range(5) for at in range(3)
    ]


class AheadEngine(FakeEngine):
    """Has lost the call before when one cannot begin."""

    def annotate_each(self, annotator: Any, calls: Any) -> Any:
        before = None
        for images, phrases in calls:
            results = self.annotate(annotator, images, phrases)
            if before is not None:
                yield before
            before = results
        yield before


def test_calls_that_an_error_took_along_are_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litelvlm.pipeline.stages.shard_run.CALL_IMAGES", 2)
    images = [image_work(number, "a dog", "a cat") for number in range(9)]
    images[5].drafts[1].prompt = "poison"
    engine = AheadEngine(break_on="poison")
    clock = DeviceClock()
    clock.ready()
    model = TimedModel(engine, FakeAnnotator(FakeDevice("cuda")), DeviceShare(clock))
    run = ShardRun(engine, model, shard_work(images))
    records = run.annotate(range(9))
    assert [(one["source_row"], one["phrase_index"]) for one in records] == [(n, at) for n in range(9) for at in (0, 1)]
    assert [(one["source_row"], one["phrase_index"]) for one in records if one["status"] == "failed"] == [(5, 1)]
    assert (run.done.images, run.done.phrases, run.done.prompts) == (9, 17, 17)
    assert [record | {"error": None} for record in shard_run(images, engine).annotate(range(9))] == [
        record | {"error": None} for record in records
    ]


def test_an_error_that_a_blank_image_meets_as_well_is_the_models_own() -> None:
    with pytest.raises(RuntimeError, match="the engine broke on a dog"):
        shard_run([image_work(0, "a dog")], FakeEngine(broken=True)).annotate(range(1))


def test_a_score_that_is_no_number_fails_its_record_alone() -> None:
    bad, good = shard_run([image_work(0, NAN_PHRASE, "a dog")]).annotate(range(1))
    assert (bad["status"], bad["score"], bad["mask_rle"]) == ("failed", None, None)
    assert bad["error"] == "the model returned a score that is no number from 0 to 1"
    assert good["status"] == "ok"
    assert math.isfinite(good["score"])


def test_images_that_kill_are_given_up_with_the_reasons_that_they_had() -> None:
    work = image_work(0, "a dog", BAD_PHRASE)
    work.drafts[1].error = "phrase: has no answer"
    records = shard_run([image_work(9, "x"), work]).give_up(range(1, 2))
    assert [one["error"] for one in records] == [
        "this record killed the worker that annotated it, every time",
        "phrase: has no answer",
    ]
    assert {one["status"] for one in records} == {"failed"}


def test_calls_are_bounded_in_images_and_phrases_and_split_no_image() -> None:
    many = [image_work(number, "a") for number in range(CALL_IMAGES + 1)]
    assert [len(call) for call in model_calls(many)] == [CALL_IMAGES, 1]
    wide = [image_work(0, *["a"] * (CALL_PHRASES - 1)), image_work(1, "a"), image_work(2, "a")]
    assert [[len(one.drafts) for one in call] for call in model_calls(wide)] == [[CALL_PHRASES - 1, 1], [1]]
    huge = [image_work(0, "a"), image_work(1, *["a"] * (3 * CALL_PHRASES)), image_work(2, "a")]
    assert [[len(one.drafts) for one in call] for call in model_calls(huge)] == [[1], [3 * CALL_PHRASES], [1]]


def test_images_without_a_usable_phrase_are_not_asked() -> None:
    failed, bare = image_work(0, "a"), image_work(1)
    failed.fail("gone")
    assert list(model_calls([failed, bare])) == []
    assert [one["error"] for one in shard_run([failed, bare]).annotate(range(2))] == ["gone"]


def test_a_shard_meets_the_same_batches_from_wherever_it_starts() -> None:
    run = shard_run([image_work(number, "a dog") for number in range(CALL_IMAGES + 3)])
    assert len(run.annotate(range(CALL_IMAGES, CALL_IMAGES + 3))) == 3
    assert run.done.images == 3
