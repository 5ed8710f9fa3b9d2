"""The comparison with the unpruned model: in turns, timed without warming up, and against the truth."""

from __future__ import annotations

import io
import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.masks import EncodedMask, decode_mask, encode_mask, run_lengths
from litelvlm.pipeline.run import annotate_dataset
from litelvlm.pipeline.shards.manifest import Shard, make_plan
from litelvlm.pipeline.shards.markers import MaskPair, ShardMarker
from litelvlm.pipeline.shards.payload import Draft, ImageWork, ShardTask, ShardWork
from litelvlm.pipeline.stages.baseline import choose_rows, compare_unpruned
from litelvlm.pipeline.stages.device_clock import DeviceClock, DeviceShare
from litelvlm.pipeline.stages.shard_run import CALL_IMAGES
from litelvlm.pipeline.stages.timed_model import TimedModel
from litelvlm.run_lengths import mask_from_run_lengths
from tests.fakes import FakeAnnotator, FakeDevice, FakeEngine, FakeResult, true_mask
from tests.pipeline.samples import final_bytes, picture, read_records, row, run_config, write_table


class Hands:
    """A clock that calls to the model turn."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass(frozen=True, kw_only=True)
class TwoWayEngine(FakeEngine):
    """Unpruned, it takes four times as long, half of it prefill, and finds masks that are one row lower."""

    hands: Hands = field(default_factory=Hands)
    calls: list[tuple[int, bool]] = field(default_factory=list)

    def annotate(
        self, annotator: FakeAnnotator, images: list[np.ndarray], phrases: list[list[str]], *, unpruned: bool = False
    ) -> list[Any]:
        results = super().annotate(annotator, images, phrases, unpruned=unpruned)
        self.calls.append((len(images), unpruned))
        annotator.stage_seconds["llm"] += (2.0 if unpruned else 0.25) * len(images)
        self.hands.seconds += (4.0 if unpruned else 1.0) * len(images)
        return [LowerResult(result) for result in results] if unpruned else results


class LowerResult(FakeResult):
    def __init__(self, result: FakeResult) -> None:
        super().__init__(result.rgb, result.phrases, result.num_retained_tokens)

    @property
    def run_lengths(self) -> Any:
        masks = (mask_from_run_lengths(found, self.size_hw) for found in super().run_lengths)
        return [run_lengths(np.roll(mask, 1, axis=0)) for mask in masks]


def image(number: int, *, truth: EncodedMask | None = None) -> ImageWork:
    drafts = [
        Draft(source_row=number, phrase_index=0, phrase="?", error="phrase: cannot be asked"),
        Draft(source_row=number, phrase_index=1, phrase="a dog", prompt="a dog", truth=truth),
    ]
    rgb = picture(number)
    return ImageWork(
        image_id=str(number), image_key=str(number), file_name=f"{number}.png", drafts=drafts,
        height=rgb.shape[0], width=rgb.shape[1], prepared=rgb,
    )  # fmt: skip


@pytest.fixture
def engine() -> TwoWayEngine:
    return TwoWayEngine()


@pytest.fixture
def model(engine: TwoWayEngine) -> TimedModel:
    clock = DeviceClock(monotonic=engine.hands)
    clock.ready()
    return TimedModel(engine, FakeAnnotator(), DeviceShare(clock))


def work(images: list[ImageWork], *, rows: range, index: int = 0) -> ShardWork:
    shard = Shard(
        shard_id="s", index=index, file="f", id_prefix="f", row_group=0, row_group_start=0, row_start=0, row_stop=99,
        num_rows=99,
    )  # fmt: skip
    return ShardWork(task=ShardTask(shard=shard, compared_rows=frozenset(rows)), images=images)


def test_both_ways_take_turns_and_warming_up_is_not_timed(engine: TwoWayEngine, model: TimedModel) -> None:
    full, last = CALL_IMAGES, 4
    num = 2 * full + last
    found = compare_unpruned(model, work([image(n) for n in range(num + 4)], rows=range(num)), warm_up=True)
    assert engine.calls == [
        (full, False), (full, True),  # not timed
        (full, False), (full, True), (full, True), (full, False), (last, False), (last, True),
    ]  # fmt: skip
    assert (found.images, found.phrases) == (num, num)
    assert (found.pruned.s, found.unpruned.s) == (num, 4.0 * num)
    assert (found.pruned.llm_s, found.unpruned.llm_s) == (0.25 * num, 2.0 * num)
    assert found.pruned.peak_bytes is None
    assert engine.hands.seconds == 5.0 * (num + full)


@pytest.mark.parametrize(("index", "first"), [(0, False), (7, True)])
def test_shards_of_a_single_call_take_turns_too(
    engine: TwoWayEngine, model: TimedModel, index: int, first: bool
) -> None:
    compare_unpruned(model, work([image(0)], rows=range(1), index=index), warm_up=False)
    assert engine.calls == [(1, first), (1, not first)]


def test_rows_that_hold_no_image_are_no_baseline(engine: TwoWayEngine, model: TimedModel) -> None:
    assert compare_unpruned(model, work([image(0)], rows=range(7, 9)), warm_up=True) is None
    assert engine.calls == []


def test_the_worst_pairs_are_kept_to_be_looked_at(model: TimedModel) -> None:
    images = [image(number) for number in range(10)]
    found = compare_unpruned(model, work(images, rows=range(10)), warm_up=False)
    assert len(found.iou) == 10
    assert [[draft.agreement for draft in one.drafts] for one in images] == [[None, iou] for iou in found.iou]
    assert [pair.iou for pair in found.pairs] == sorted(found.iou)[:4]
    for pair in found.pairs:
        truth = true_mask(picture(pair.source_row), "a dog")
        assert pair.phrase_index == 1
        np.testing.assert_array_equal(_decoded(pair, pair.pruned_rle), truth)
        np.testing.assert_array_equal(_decoded(pair, pair.unpruned_rle), np.roll(truth, 1, axis=0))
        both = truth & np.roll(truth, 1, axis=0)
        assert pair.iou == pytest.approx(both.sum() / (2 * truth.sum() - both.sum()), abs=1e-4)


def test_masks_are_compared_with_the_truth_where_it_is_known(model: TimedModel) -> None:
    known = true_mask(picture(0), "a dog")
    images = [image(0, truth=encode_mask(known)), image(1)]
    truth = compare_unpruned(model, work(images, rows=range(2)), warm_up=False).truth
    area, both = int(known.sum()), int((known & np.roll(known, 1, axis=0)).sum())
    assert truth == {"pruned": [(area, area), None], "unpruned": [(both, 2 * area - both), None]}


def test_peak_memory_of_a_gpu_is_that_of_each_way_alone(model: TimedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model.annotator.device = FakeDevice("cuda")  # type: ignore[assignment, misc]
    peaks, engine = [0], model._engine
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peaks.append(0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: max(peaks[-1], 100 * len(engine.calls)))  # type: ignore[attr-defined]
    num = CALL_IMAGES + 4
    found = compare_unpruned(model, work([image(n) for n in range(num)], rows=range(num)), warm_up=False)
    assert [unpruned for _, unpruned in engine.calls] == [False, True, True, False]  # type: ignore[attr-defined]
    assert (found.pruned.peak_bytes, found.unpruned.peak_bytes) == (400, 300)
    assert len(peaks) == 5


def test_the_same_rows_are_chosen_by_every_session_and_more_include_fewer(tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", [row(number) for number in range(40)])
    shards = make_plan(run_config(source, tmp_path / "out"), revision="r").shards
    few, many = choose_rows(shards, 5, None), choose_rows(shards, 9, None)
    assert sum(map(len, few.values())) == 5
    assert choose_rows(shards, 5, None) == few
    assert all(set(rows) <= set(many[shard_id]) for shard_id, rows in few.items())


@dataclass(frozen=True, kw_only=True)
class DeadlyEngine(FakeEngine):
    """Unpruned, it kills its worker on images of a phrase."""

    def annotate(self, annotator: Any, images: Any, phrases: Any, *, unpruned: bool = False) -> Any:
        if unpruned and any("too much" in asked for group in phrases for asked in group):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().annotate(annotator, images, phrases, unpruned=unpruned)


@pytest.mark.usefixtures("local_ray")
def test_a_baseline_that_kills_its_worker_costs_no_record(tmp_path: Path) -> None:
    rows = [row(number, "too much" if number == 3 else "a dog") for number in range(8)]
    source = write_table(tmp_path / "in.parquet", rows)
    config = run_config(source, tmp_path / "out", shard_images=1, baseline_images=8)
    assert annotate_dataset(config, engine=DeadlyEngine(), stream=io.StringIO()) == EXIT_DONE
    assert [record["status"] for record in read_records(tmp_path / "out")] == ["ok"] * 8
    markers = sorted(_markers(tmp_path / "out"), key=lambda marker: marker.index)
    compared = [marker.baseline.images if marker.baseline else 0 for marker in markers]
    assert compared[3] == 0
    assert sum(compared) >= 6  # whoever was being compared in the same worker is left out as well: one at most
    assert "killed its worker" in (markers[3].facts.baseline_error or "")
    attempts = [shard["attempts"] for shard in pq.read_table(tmp_path / "out/throughput.parquet").to_pylist()]
    assert attempts[3] == 2
    assert max(attempts) == 2


@pytest.mark.usefixtures("local_ray")
def test_truth_in_the_input_is_reported_and_changes_nothing_of_the_result(tmp_path: Path) -> None:
    rows = [row(number, "a dog", "the red box") for number in range(12)]
    for number, given in enumerate(rows):
        masks = [encode_mask(true_mask(picture(number), phrase)).as_coco() for phrase in given["phrases"]]
        given["truth"] = json.dumps(masks)
    rows[4]["truth"] = "no mask"
    source = write_table(tmp_path / "in.parquet", rows)
    without = run_config(source, tmp_path / "plain")
    assert annotate_dataset(without, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    config = run_config(source, tmp_path / "out", baseline_images=12, mask_column="truth")
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    (tmp_path / "out/_SUCCESS").unlink()
    for lost in sorted((tmp_path / "out/_done").iterdir())[:1]:
        lost.unlink()
    resumed = run_config(source, tmp_path / "out", mask_column="truth", baseline_images=12)
    assert annotate_dataset(resumed, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    found, plain = (
        {name: data for name, data in final_bytes(tmp_path / run).items() if not name.startswith("records/")}
        for run in ("out", "plain")
    )
    assert found == plain
    records, others = read_records(tmp_path / "out"), read_records(tmp_path / "plain")
    assert {record["agreement"] for record in records} == {1.0}
    assert [record | {"agreement": None} for record in records] == others
    assert json.loads((tmp_path / "out/run.json").read_text())["baseline"]["images"] == 12
    truth = json.loads((tmp_path / "out/run.json").read_text())["baseline"]["truth"]
    assert truth["phrases"] == 22
    assert truth["pruned"] == truth["unpruned"] == {"ciou": 1.0, "giou": 1.0}
    assert sum(one.baseline.num_bad_truths for one in _markers(tmp_path / "out") if one.baseline) == 1


def _markers(output: Path) -> list[ShardMarker]:
    return [ShardMarker.from_json(path.read_bytes(), path.name) for path in (output / "_done").iterdir()]


def _decoded(pair: MaskPair, counts: str) -> np.ndarray:
    return decode_mask(EncodedMask(size_hw=pair.size_hw, counts=counts, area=0, bbox_xywh=(0.0, 0.0, 0.0, 0.0)))
