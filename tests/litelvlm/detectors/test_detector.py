"""The interface of detectors is what its one detector has."""

from __future__ import annotations

from litelvlm.detectors.detector import INSTANCE_THRESHOLD, Detector
from litelvlm.detectors.sam3 import Sam3


def test_sam3_is_a_detector() -> None:
    detector: Detector = Sam3()
    asked = {name for name in vars(Detector) if not name.startswith("_")}
    assert asked <= set(dir(detector))
    assert 0.0 < INSTANCE_THRESHOLD < 1.0
