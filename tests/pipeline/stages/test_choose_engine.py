"""Which engine a checkpoint gets, and which settings each refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from litelvlm.detectors.sam3 import SAM3
from litelvlm.pipeline.config import ModelConfig, RunConfig, fingerprint_facts
from litelvlm.pipeline.stages.choose_engine import choose_engine, find_detector, fitted
from litelvlm.pipeline.stages.detector_engine import DetectorEngine
from litelvlm.pipeline.stages.engine import LiteLVLMEngine
from tests.parity.fixtures import GLAMM_TINY
from tests.pipeline.samples import run_config


@pytest.fixture
def sam3(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text('{"model_type": "sam3_video"}')
    return str(tmp_path)


def config(model: str, **settings: Any) -> RunConfig:
    return run_config("in.parquet", "out", **{"model": model, "num_retain_tokens": 192} | settings)


def test_a_checkpoint_says_whose_it_is(sam3: str, tmp_path: Path) -> None:
    engine = choose_engine(config(sam3, batch_images=3))
    assert isinstance(engine, DetectorEngine)
    assert (engine.detector, engine.model.model, engine.batch_images) == (SAM3, sam3, 3)
    for other in ("demo", str(GLAMM_TINY), str(tmp_path / "none"), "no such id", str(tmp_path / "config.json")):
        assert isinstance(choose_engine(config(other)), LiteLVLMEngine)


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"model_type": "sam3_tracker"}', '{"model_type": 3}'])
def test_what_is_no_detector_s_is_left_to_the_other_engine(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert find_detector(ModelConfig(model=str(tmp_path))) is None


def test_a_detector_runs_unpruned_and_says_so(sam3: str) -> None:
    model = fitted(config(sam3, precision="bf16", phrase_case="keep")).model
    assert (model.rule, model.num_retain_tokens, model.layout) == ("none", None, "separate")
    assert (model.instance_threshold, model.precision, model.phrase_case) == (0.5, "bf16", "keep")
    given = fitted(config(sam3, rule="none", num_retain_tokens="all", instance_threshold=0.25)).model
    assert given.instance_threshold == 0.25
    assert fitted(fitted(config(sam3))) == fitted(config(sam3))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"rule": "paper"}, "--rule: SAM 3 prunes nothing and is asked the phrase alone; leave it out"),
        ({"num_retain_tokens": 48, "layout": "shared"}, "--num-retain-tokens, --layout: SAM 3 prunes nothing and is"),
        ({"question": "Where is {phrase}?"}, "--question: SAM 3 prunes"),
        ({"signals": ["clip"]}, "--signals: SAM 3 prunes"),
        ({"clip": "somewhere"}, "--clip: SAM 3 prunes"),
        ({"formulation": "sam=plain"}, "--formulation: SAM 3 prunes"),
        ({"order": "raster", "positions": "original"}, "--order, --positions: SAM 3 prunes"),
        ({"precision": "fp8"}, "--precision fp8: SAM 3 runs in bf16 or fp32"),
        ({"baseline_images": 5}, "--baseline-images: SAM 3 prunes nothing; there is nothing to compare with"),
    ],
)
def test_settings_without_effect_are_refused_by_name(sam3: str, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match="^" + reason.replace("(", r"\(")):
        fitted(config(sam3, **settings))


def test_the_threshold_is_a_detector_s_alone(sam3: str) -> None:
    with pytest.raises(ValueError, match=r"^--instance-threshold: is of SAM 3 \(docs/models\.md\), which --model does"):
        fitted(config("demo", instance_threshold=0.5))
    with pytest.raises(ValueError, match="instance-threshold is 2"):
        config(sam3, instance_threshold=2)
    assert fitted(config("demo")) == config("demo")


def test_the_threshold_decides_results_where_there_is_one(sam3: str) -> None:
    def facts(run: RunConfig) -> dict[str, Any]:
        return fingerprint_facts(run, files=[], columns="", revision="r")

    assert "instance_threshold" not in facts(config("demo"))
    assert facts(fitted(config(sam3)))["instance_threshold"] == 0.5
    assert json.dumps(facts(fitted(config(sam3)))) != json.dumps(facts(fitted(config(sam3, instance_threshold=0.4))))
