"""The actor that annotates: records with facts and seconds; a comparison that fails costs no record."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litelvlm.pipeline.shards.payload import ShardResult, ShardWork, pack, unpack
from litelvlm.pipeline.stages.annotate import AnnotateStage
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeAnnotator, FakeEngine
from tests.pipeline.stages.shard_work import image_work, shard_work


def annotated(tmp_path: Path, work: ShardWork, engine: FakeEngine | None = None) -> ShardResult:
    stage = AnnotateStage(engine or FakeEngine(), Storage(str(tmp_path)), "now", 1)
    result = unpack(stage(pack(work)))
    assert isinstance(result, ShardResult)
    return result


def test_the_facts_are_those_of_the_shard(tmp_path: Path) -> None:
    work = shard_work([image_work(number, "a dog", "a cat") for number in range(3)])
    work.bytes_read, work.sent_at, work.seconds = 500, time.time() - 2.0, {"read": 0.5}
    result = annotated(tmp_path, work)
    facts = result.facts
    assert (facts.images, facts.prompts, facts.visual_tokens, facts.retained_tokens) == (3, 6, 6 * 64, 6 * 21)
    assert facts.megapixels == pytest.approx(3 * 24 * 32 / 1e6)
    assert (facts.bytes_read, facts.device, facts.attempts, facts.tflop) == (500, "cpu", 1, None)
    assert (facts.node, facts.actor) == (platform.node(), f"{platform.node()}:{os.getpid()}")
    assert facts.actor_from < facts.actor_to <= time.time()
    assert result.seconds["read"] == 0.5
    assert 2.0 <= result.seconds["wait"] < 60.0
    assert result.baseline is None
    assert [record["status"] for record in result.records] == ["ok"] * 6


def test_rows_that_are_compared_are_annotated_both_ways(tmp_path: Path) -> None:
    work = shard_work([image_work(number, "a dog") for number in range(3)], compared_rows=frozenset({1, 2}))
    result = annotated(tmp_path, work)
    assert result.baseline is not None
    assert (result.baseline.images, result.baseline.iou) == (2, [1.0, 1.0])
    assert [record["agreement"] for record in result.records] == [None, 1.0, 1.0]
    assert [record["overlap"] for record in result.records] == [0.0] * 3
    assert result.facts.images == 3  # those of the comparison are not counted again
    assert result.seconds["baseline"] > 0


def test_a_comparison_that_fails_costs_no_record(tmp_path: Path) -> None:
    class Narrow(FakeEngine):
        def annotate(
            self,
            annotator: FakeAnnotator,
            images: list[np.ndarray],
            phrases: list[list[str]],
            *,
            unpruned: bool = False,
        ) -> list[Any]:
            if unpruned:
                raise MemoryError("too little memory")
            return super().annotate(annotator, images, phrases)

    result = annotated(tmp_path, shard_work([image_work(0, "a dog")], compared_rows=frozenset({0})), Narrow())
    assert result.baseline is None
    assert result.facts.baseline_error == "MemoryError: too little memory"
    assert [(record["status"], record["agreement"]) for record in result.records] == [("ok", None)]


def test_a_comparison_that_killed_its_worker_once_is_not_tried_again(tmp_path: Path) -> None:
    Storage(str(tmp_path)).create_exclusive("_attempts/s/baseline/all/now.1", b"died")
    result = annotated(tmp_path, shard_work([image_work(0, "a dog")], compared_rows=frozenset({0})))
    assert result.baseline is None
    assert result.facts.baseline_error == "the comparison with the unpruned model killed its worker"
    assert result.facts.attempts == 2
    assert [record["status"] for record in result.records] == ["ok"]
