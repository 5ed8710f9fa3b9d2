"""One shard under every combination, without Ray: what is asked, scored, shared and given up."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from litelvlm.evaluation.config import SweepConfig
from litelvlm.evaluation.protocol import Protocol
from litelvlm.evaluation.shard_sweep import NO_TRUTH, ShardSweep
from litelvlm.pipeline.masks import EncodedMask, decode_mask, encode_mask
from litelvlm.pipeline.shards.manifest import Shard
from litelvlm.pipeline.shards.payload import Draft, ImageWork, ShardTask, ShardWork
from litelvlm.pipeline.stages.device_clock import DeviceClock, DeviceShare
from tests.evaluation.fakes import UNTAKEN_PHRASE, CountingAnnotator, FakeEvaluation
from tests.fakes import ABSENT_PHRASE, true_mask
from tests.pipeline.samples import picture

SHARD = Shard(
    shard_id="0", index=0, file="f", id_prefix="f", row_group=0, row_group_start=0, row_start=0, row_stop=9, num_rows=9
)
SWEEP = SweepConfig(rules=("none", "low_similarity", "random"), budgets=(8, 4), seeds=(0, 1))


def _image(number: Any, phrases: Any) -> Any:
    rgb = picture(number)
    drafts = [
        Draft(
            source_row=number,
            phrase_index=index,
            phrase=phrase,
            prompt=phrase,
            truth=encode_mask(true_mask(rgb, phrase)),
        )
        for index, phrase in enumerate(phrases)
    ]
    height, width = rgb.shape[:2]
    key = f"key-{number}"
    return ImageWork(
        image_id=f"i{number}", image_key=key, file_name="", drafts=drafts, height=height, width=width, prepared=rgb
    )


def _sweep(images: Any, *, engine: Any = None, protocol: Any = "every", sweep: Any = SWEEP) -> Any:
    annotator = CountingAnnotator()
    work = ShardWork(task=ShardTask(shard=SHARD), images=images)
    engine = engine or FakeEvaluation()
    return ShardSweep(engine, annotator, DeviceShare(DeviceClock()), work, sweep, Protocol(name=protocol)), annotator


def test_images_are_encoded_once_and_answered_by_every_combination() -> None:
    images = [_image(number, ["the red box", "a dog"]) for number in range(20)]
    sweep, annotator = _sweep(images)
    rows = sweep.evaluate(range(20), frozenset())
    combinations = SWEEP.combinations()
    assert len(combinations) == 1 + 2 + 2 * 2
    assert len(rows) == len(combinations) * 40
    assert annotator.encoded == 20
    assert len(annotator.answered) == 2 * len(combinations)  # calls of 16 and of 4 images
    assert sweep.spent.llm_s == [0.5] * len(combinations)
    assert (sweep.spent.images, sweep.spent.prompts, sweep.spent.text_tokens) == (20, 40, 400)


def test_rows_hold_what_the_masks_have_in_common() -> None:
    image = _image(3, ["the red box"])
    sweep, _ = _sweep([image])
    rows = {row["combination"]: row for row in sweep.evaluate(range(1), frozenset())}
    truth = decode_mask(image.drafts[0].truth)
    for index, pruning in enumerate(SWEEP.combinations()):
        found = truth.copy()
        if pruning.rule == "low_similarity":
            found[len(found) * pruning.num_retain_tokens // 16 :] = False
        assert rows[index]["intersection"] == rows[index]["predicted_area"] == found.sum()
        assert rows[index]["true_area"] == truth.sum()
        assert rows[index]["mask_rle"] is None
    assert rows[0]["boundary_f"] == 1.0
    assert rows[0]["num_words"] == 3


def test_what_the_model_rejects_counts_as_an_empty_mask() -> None:
    sweep, _ = _sweep([_image(3, ["a dog", ABSENT_PHRASE])])
    rows = [row for row in sweep.evaluate(range(1), frozenset()) if row["combination"] == 0]
    assert true_mask(picture(3), ABSENT_PHRASE).any()
    assert [row["predicted_area"] > 0 for row in rows] == [True, False]
    assert rows[1]["intersection"] == 0


def test_examples_keep_masks_and_tokens() -> None:
    images = [_image(1, ["a dog"]), _image(2, ["a dog"])]
    sweep, _ = _sweep(images)
    rows = [row for row in sweep.evaluate(range(2), frozenset({2})) if row["combination"] == 0]
    assert [row["retained"] for row in rows] == [None, list(range(16))]
    mask = EncodedMask(size_hw=(24, 32), counts=rows[1]["mask_rle"], area=0, bbox_xywh=(0, 0, 0, 0))
    assert np.array_equal(decode_mask(mask), true_mask(picture(2), "a dog"))


def test_every_mask_is_kept_where_that_is_asked() -> None:
    images = [_image(1, ["a dog"]), _image(2, ["a dog", "the red box"])]
    sweep, _ = _sweep(images, sweep=dataclasses.replace(SWEEP, save_masks=True))
    rows = sweep.evaluate(range(2), frozenset())
    assert all(row["retained"] is None for row in rows)
    for row in rows:
        mask = EncodedMask(size_hw=(24, 32), counts=row["mask_rle"], area=0, bbox_xywh=(0, 0, 0, 0))
        assert decode_mask(mask).sum() == row["predicted_area"]


def test_the_release_protocol_asks_up_to_three_in_the_words_that_it_drew() -> None:
    images = [_image(number, ["the red box", "a dog", "blue thing", "a", "bc"]) for number in range(8)]
    sweep, _ = _sweep(images, protocol="release")
    rows = [row for row in sweep.evaluate(range(8), frozenset()) if row["combination"] == 0]
    for number in range(8):
        own = [row for row in rows if row["source_row"] == number]
        assert sorted(row["round"] for row in own) == [0, 1, 2]
        rounds = Protocol(name="release").rounds(5, f"key-{number}")
        asked = {row["round"]: (row["phrase_index"], row["question"], row["answer"]) for row in own}
        assert asked == {place: (one.index, one.question, one.answer) for place, one in enumerate(rounds)}


def test_what_cannot_be_evaluated_fails_under_every_combination() -> None:
    without_truth = _image(1, ["a dog", "blue thing"])
    without_truth.drafts[0].truth = None
    undecodable = _image(2, ["a dog"])
    undecodable.fail("bytes are no image")
    images = [without_truth, undecodable, _image(3, [UNTAKEN_PHRASE, "a dog"]), _image(4, ["a dog"])]
    sweep, _ = _sweep(images)
    rows = sweep.evaluate(range(4), frozenset())
    failed = {(row["source_row"], row["phrase_index"]): row["error"] for row in rows if row["status"] == "failed"}
    assert failed[1, 0] == NO_TRUTH
    assert failed[2, 0] == "bytes are no image"
    assert failed[3, 0] == failed[3, 1] == "the model failed on this image: RuntimeError: the model cannot take this"
    assert len(failed) == 4
    scored = {(row["source_row"], row["phrase_index"]) for row in rows if row["status"] == "scored"}
    assert scored == {(1, 1), (4, 0)}
    assert len(rows) == 6 * len(SWEEP.combinations())


def test_a_broken_model_is_no_images_fault() -> None:
    sweep, _ = _sweep([_image(1, ["a dog"])], engine=FakeEvaluation(broken=True))
    with pytest.raises(RuntimeError, match="cannot take"):
        sweep.evaluate(range(1), frozenset())


def test_images_that_kill_their_worker_are_given_up() -> None:
    sweep, annotator = _sweep([_image(1, ["a dog", "blue thing"])])
    rows = sweep.give_up(range(1))
    assert {row["status"] for row in rows} == {"failed"}
    assert len(rows) == 2 * len(SWEEP.combinations())
    assert not annotator.answered
