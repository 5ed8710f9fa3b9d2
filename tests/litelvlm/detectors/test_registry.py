"""Which checkpoints are a detector's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from litelvlm.detectors.registry import detector_of, find_detector, register
from litelvlm.detectors.sam3 import SAM3, Sam3
from tests.parity.fixtures import GLAMM_TINY


def test_a_detector_is_found_by_what_its_configuration_says(tmp_path: Path) -> None:
    for kind in ("sam3", "sam3_video"):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
        assert find_detector(tmp_path) == (SAM3, tmp_path)


@pytest.mark.parametrize("text", ['{"model_type": "sam3_tracker"}', '{"model_type": ["sam3"]}', "{}", "[]", "no"])
def test_others_are_no_detector_s(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert find_detector(tmp_path) is None


def test_what_is_not_there_is_left_to_who_opens_it(tmp_path: Path) -> None:
    assert find_detector(tmp_path) is None
    assert find_detector(tmp_path / "none") is None
    assert find_detector("demo") is None
    assert find_detector(GLAMM_TINY) is None


def test_no_two_detectors_share_a_model_type() -> None:
    with pytest.raises(ValueError, match=r"^New: one of its model types is that of SAM 3$"):
        register(replace(Sam3(), title="New", model_types=("new", "sam3")))
    assert detector_of({"model_type": "new"}) is None
