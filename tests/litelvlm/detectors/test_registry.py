"""Which checkpoints are a detector's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from litelvlm.detectors.registry import DETECTORS, detector_of, register
from litelvlm.detectors.sam3 import SAM3, Sam3
from litelvlm.models.glamm import GLAMM
from litelvlm.models.registry import described_as


def test_a_detector_is_found_by_what_its_configuration_says() -> None:
    assert DETECTORS == [SAM3]
    assert detector_of({"model_type": "sam3"}) is SAM3
    assert detector_of({"model_type": "sam3_video", "architectures": ["Sam3VideoModel"]}) is SAM3


@pytest.mark.parametrize("values", [{}, {"model_type": "sam3_tracker"}, {"model_type": ["sam3"]}, {"model_type": None}])
def test_others_are_no_detector_s(values: dict[str, object]) -> None:
    assert detector_of(values) is None


def test_no_two_detectors_share_a_model_type() -> None:
    with pytest.raises(ValueError, match=r"^New: one of its model types is that of SAM 3$"):
        register(replace(Sam3(), title="New", model_types=("new", "sam3")))
    assert detector_of({"model_type": "new"}) is None


def test_the_refusal_of_another_model_names_the_detectors() -> None:
    with pytest.raises(ValueError, match=r"^model: its config\.json says Sam3TrackerModel; known are ") as caught:
        described_as({"architectures": ["Sam3TrackerModel"], "model_type": "sam3_tracker"}, GLAMM)
    assert str(caught.value).endswith("; to annotate and to evaluate, SAM 3 (model_type sam3 or sam3_video), too")
