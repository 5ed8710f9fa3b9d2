"""Which model an evaluation is of, and what of the sweep is left for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from litelvlm.config import RULES
from litelvlm.evaluation.choose_engine import choose_evaluation
from litelvlm.evaluation.config import EvaluationConfig, SweepConfig
from litelvlm.evaluation.engine import LiteLVLMEvaluation
from litelvlm.evaluation.protocol import Protocol
from litelvlm.evaluation.stage import EvaluateStage
from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.shards.payload import Draft, ImageWork
from litelvlm.pipeline.stages.detector_engine import DetectorEngine
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.samples import picture, run_config
from tests.pipeline.stages.shard_work import shard_work


@pytest.fixture
def config(sam3_tiny: Path, tmp_path: Path) -> EvaluationConfig:
    run = run_config("in.parquet", tmp_path / "out", model=str(sam3_tiny), num_retain_tokens=192, mask_column="masks")
    return EvaluationConfig(run=run)


def test_the_other_models_keep_their_sweep(config: EvaluationConfig) -> None:
    demo = dataclasses.replace(config, run=dataclasses.replace(config.run, model=type(config.run.model)()))
    found, engine = choose_evaluation(demo)
    assert isinstance(engine, LiteLVLMEvaluation)
    assert found == demo


def test_a_detector_is_evaluated_unpruned(config: EvaluationConfig) -> None:
    assert config.sweep.rules == RULES
    found, engine = choose_evaluation(config)
    assert isinstance(engine, DetectorEngine)
    assert [one.rule for one in found.sweep.combinations()] == ["none"]
    assert found.run.model.rule == "none"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sweep": SweepConfig(rules=("none", "paper"))}, "--rules: SAM 3 prunes nothing; give none, or leave it out"),
        ({"protocol": Protocol(name="release")}, "--protocol, --layout: SAM 3 is asked every phrase alone"),
        ({"protocol": Protocol(layout="shared")}, "--protocol, --layout: SAM 3 is asked every phrase alone"),
    ],
)
def test_what_a_detector_has_no_use_for_is_refused(
    config: EvaluationConfig, change: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        choose_evaluation(dataclasses.replace(config, **change))


def test_a_detector_s_answers_are_scored(config: EvaluationConfig, tmp_path: Path) -> None:
    found, engine = choose_evaluation(config)
    assert isinstance(engine, DetectorEngine)
    rgb = picture(0)
    truth = encode_mask(rgb[..., 0] > 128)
    draft = Draft(source_row=0, phrase_index=0, phrase="a star", prompt="a star", truth=truth)
    image = ImageWork(
        image_id="a", image_key="a", file_name="", drafts=[draft], height=rgb.shape[0], width=rgb.shape[1],
        prepared=engine.preprocessor().prepare(rgb),
    )  # fmt: skip
    protocol = dataclasses.replace(found.protocol, template=engine.template())
    stage = EvaluateStage(engine, Storage(str(tmp_path)), "now", 1, found.sweep, protocol, {})
    (row,) = stage.process(shard_work([image])).rows
    assert (row["status"], row["question"], row["true_area"]) == ("scored", "{phrase}", truth.area)
    assert (row["num_visual_tokens"], row["num_retained_tokens"], row["coverage"]) == (64, 64, 1.0)
    assert 0 <= row["intersection"] <= truth.area
