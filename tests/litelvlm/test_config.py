"""Configurations are refused before anything is built from them, by the name of what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from litelvlm.checkpoint import open_checkpoint
from litelvlm.config import ClipSizes, GlammConfig, LlmSizes, PromptTemplate, PruningConfig, SamSizes, ScoreCalibration
from tests.litelvlm.checkpoint_copies import edit_config
from tests.parity.fixtures import CLIP_TINY


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"num_retain_tokens": 0}, "num_retain_tokens"),
        ({"num_retain_tokens": -3}, "num_retain_tokens"),
        ({"num_retain_tokens": 2.5}, "num_retain_tokens"),
        ({"num_retain_tokens": True}, "num_retain_tokens"),
        ({"rule": "best"}, "rule"),
        ({"order": "spiral"}, "order"),
        ({"positions": "none"}, "positions"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_pruning_names_the_field(values: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        PruningConfig(**values)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"question": "Where is it?"}, "question"),
        ({"question": "{phrase} {phrase}"}, "question"),
        ({"question": "{phrase} [SEG]"}, "question"),
        ({"question": "{phrase} <image>"}, "question"),
        ({"answer": "Sure."}, "answer"),
        ({"answer": "[SEG] [SEG]"}, "answer"),
        ({"answer": 3}, "answer"),
    ],
)
def test_bad_templates_name_the_field(values: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        PromptTemplate(**values)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hidden_size": 10**9}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"vocab_size": 10**12}, "vocab_size"),
        ({"num_attention_heads": 7}, "hidden_size"),
        ({"num_key_value_heads": 3}, "num_attention_heads"),
        ({"rms_norm_eps": "NaN"}, "rms_norm_eps"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"rope_theta": -1}, "rope_theta"),
        ({"rope_theta": 10**400}, "rope_theta"),
        ({"sam": {"image_size": 2**20}}, "image_size"),
        ({"sam": {"image_size": 65}}, "image_size"),
        ({"sam": {"global_attn_indexes": 5}}, "global_attn_indexes"),
        ({"sam": {"global_attn_indexes": [10**9]}}, "global_attn_indexes"),
        ({"sam": {"num_hidden_layers": 10**6}}, "num_hidden_layers"),
        ({"sam": [1]}, "sam"),
        ({"hidden_size": True}, "hidden_size"),
        ({"mm_hidden_size": "\x1b[31m"}, "mm_hidden_size"),
        ({"sam": {"\x1b[31m": 1}}, "sam: does not know"),
        ({"hidden_size": 1e400}, "hidden_size"),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_built(
    glamm_copy: Path, changes: dict[str, object], field: str
) -> None:
    edit_config(glamm_copy, **changes)
    with pytest.raises(ValueError, match=field) as caught:
        open_checkpoint(glamm_copy, CLIP_TINY)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("pruning", "kept", "entering"),
    [
        (PruningConfig(), 576, 576),
        (PruningConfig(num_retain_tokens=64), 64, 64),
        (PruningConfig(num_retain_tokens=576), 576, 576),
        (PruningConfig(num_retain_tokens=577), 576, 576),
        (PruningConfig(num_retain_tokens=64, rule="none"), 576, 576),
        (PruningConfig(num_retain_tokens=64, rule="fastv"), 64, 576),
    ],
)
def test_how_many_of_576_tokens_stay_and_enter(pruning: PruningConfig, kept: int, entering: int) -> None:
    assert (pruning.budget(576), pruning.entering(576)) == (kept, entering)


def test_every_token_in_a_rules_order_is_not_unpruned() -> None:
    assert not PruningConfig(num_retain_tokens=576).is_unpruned(576)
    assert PruningConfig(num_retain_tokens=577).is_unpruned(576)


@pytest.mark.parametrize(
    ("rule", "order", "release", "own"),
    [
        ("release", "auto", True, True),
        ("trim", "auto", False, True),
        ("trim", "release", True, False),
        ("release", "raster", False, False),
    ],
)
def test_orders(rule: str, order: str, release: bool, own: bool) -> None:
    pruning = PruningConfig(rule=rule, order=order)
    assert (pruning.uses_release_order, pruning.uses_own_order) == (release, own)


def test_a_configuration_survives_json() -> None:
    config = GlammConfig(
        llm=LlmSizes(num_hidden_layers=3),
        sam=SamSizes(global_attn_indexes=(1, 2)),
        clip=ClipSizes(quick_gelu=False),
        calibration=ScoreCalibration(bias=-0.5),
    )
    assert GlammConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"llm": 3}, "^llm: must be an object, not 3$"),
        ({"sam": {"depth": 3}}, "^sam: does not know depth$"),
        ({"sam": {"mask_decoder_hidden_size": 128}}, "must equal sam.output_channels"),
        ({"clip": {"patch_size": 400}}, "patch_size: must not be larger than image_size"),
        ({"clip": {"vision_layers": 1}}, "vision_layers: must be at least 2"),
        ({"calibration": {"iou": float("inf")}}, "calibration.iou: must be a finite number"),
    ],
)
def test_sizes_that_make_no_model_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GlammConfig.from_dict(values)


def test_a_phrase_is_put_into_the_question_as_it_is() -> None:
    assert PromptTemplate(question="Where is {phrase}?").ask("a {b} [SEG]") == "Where is a {b} [SEG]?"


def test_the_grids_of_the_published_sizes() -> None:
    assert (SamSizes().grid_size, SamSizes().low_res_size, ClipSizes().num_patches) == (64, 256, 576)
