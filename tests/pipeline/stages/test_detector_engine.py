"""A detector behind the methods of an engine: decoded, asked and made records of as any model is."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from litelvlm.detectors.sam3 import SAM3
from litelvlm.pipeline.config import ModelConfig
from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.shards.manifest import make_plan
from litelvlm.pipeline.shards.markers import Marker
from litelvlm.pipeline.shards.payload import ShardResult, ShardTask, pack, unpack
from litelvlm.pipeline.stages.annotate import AnnotateStage
from litelvlm.pipeline.stages.decode import DecodeStage
from litelvlm.pipeline.stages.detector_engine import DetectorEngine
from litelvlm.pipeline.stages.engine import Annotated, Engine
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.samples import picture, row, run_config, write_table


@pytest.fixture
def engine(sam3_tiny: Path) -> DetectorEngine:
    model = ModelConfig(model=str(sam3_tiny), rule="none", num_retain_tokens=None)
    return pickle.loads(pickle.dumps(DetectorEngine(detector=SAM3, model=model)))


def test_rows_become_records(engine: DetectorEngine, tmp_path: Path) -> None:
    rows = [row(number, "the red circle", "a star", "the large blue square") for number in range(3)]
    rows[1]["image"] = b"<html>"
    rows[2]["phrases"] = ["a star " * 40, "a star"]
    config = run_config(write_table(tmp_path / "in.parquet", rows), tmp_path / "out")
    plan, storage = make_plan(config, revision=engine.revision()), Storage(str(tmp_path / "out"))
    decode = DecodeStage(
        mapping=plan.mapping,
        engine=engine,
        policy=UriPolicy(manifest_is_local=True),
        storage=storage,
        session="now",
        marker=Marker,
    )
    work = decode(pack(ShardTask(shard=plan.shards[0])))
    result = unpack(AnnotateStage(engine, storage, "now", 1)(work))
    assert isinstance(result, ShardResult)
    records = {(one["source_row"], one["phrase_index"]): one for one in result.records}
    assert len(records) == 8
    assert {at for at, one in records.items() if one["status"] == "failed"} == {(1, 0), (1, 1), (1, 2), (2, 0)}
    assert records[2, 0]["error"].endswith("tokens with its start and end; SAM 3 takes 32")
    answered = [one for one in records.values() if one["status"] != "failed"]
    assert {one["status"] for one in answered} <= {"ok", "empty"}
    assert any(one["status"] == "ok" and 0.5 < one["score"] <= 1.0 for one in answered)
    assert all(0.0 <= one["absent_probability"] <= 1.0 for one in answered)
    assert {(one["num_visual_tokens"], one["num_retained_tokens"]) for one in answered} == {(64, 64)}
    facts = result.facts
    assert (facts.images, facts.prompts, facts.tflop, facts.unpruned_tflop) == (2, 4, None, None)
    assert (facts.visual_tokens, facts.retained_tokens, facts.formulation) == (4 * 64, 4 * 64, "transformers")
    assert result.seconds["sam"] > 0
    assert result.seconds["decode_masks"] > 0


@pytest.mark.slow
def test_the_threshold_and_the_device_reach_the_model(engine: DetectorEngine, sam3_tiny: Path) -> None:
    image = engine.preprocessor().prepare(picture(0))
    areas = []
    for threshold in (0.0, 1.0):
        model = ModelConfig(model=str(sam3_tiny), instance_threshold=threshold)
        one = DetectorEngine(detector=SAM3, model=model)
        (result,) = one.annotate(one.annotator(1), [image], [["a star"]])
        areas.append(int(result.masks.sum()))
    assert areas[0] > areas[1] == 0
    assert engine.on_device("cuda").device == "cuda"
    assert (engine.dtype, engine.on_device("cuda").dtype) == ("float32", "bfloat16")


def test_an_encoded_image_gives_the_same_answer(engine: DetectorEngine) -> None:
    image = engine.preprocessor().prepare(np.full((20, 30, 3), 90, np.uint8))
    annotator, phrases = engine.annotator(1), ["a star", "the red circle"]
    (wanted,) = engine.annotate(annotator, [image], [phrases])
    (found,) = engine.answer(annotator, engine.encode(annotator, [image]), [(phrases, ())], None, "separate")
    assert [list(one) for one in found.run_lengths] == [list(one) for one in wanted.run_lengths]
    assert [len(kept) for kept in found.retained] == [engine.num_visual_tokens()] * 2


def test_what_it_says_of_itself(engine: DetectorEngine) -> None:
    engine.check_weights()
    (remark,) = engine.check()
    assert remark.startswith("SAM 3 prunes nothing: every phrase is held against all 64 tokens of its image; ")
    assert remark.endswith("above 0.5")
    assert engine.check_phrase(engine.preprocessor(), " A Star ") == "a star"
    assert engine.template().ask("a star") == "a star"
    general: Engine = engine
    assert general.needed_tflop(Annotated(images=1)) is None
    assert general.tflop_an_image(["a star"], "separate") is None
