"""SAM 3 behind the interface of detectors."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np

from litelvlm.detectors.sam3 import SAM3


def test_from_a_directory_to_a_mask(sam3_tiny: Path) -> None:
    detector = pickle.loads(pickle.dumps(SAM3))
    assert len(detector.revision(sam3_tiny)) == 16
    detector.check_weights(sam3_tiny)
    preprocessor = detector.preprocessor(sam3_tiny, "exact")
    loaded = detector.load(sam3_tiny, device="cpu", dtype="float32", instance_threshold=0.0)
    prepared = preprocessor.prepare(np.zeros((30, 40, 3), np.uint8))
    (result,) = loaded.annotate([prepared], [[preprocessor.check_phrase("A Dog")]])
    assert result.masks.shape == (1, 30, 40)
    assert (loaded.device.type, str(loaded.formulation)) == ("cpu", "transformers")


def test_nothing_heavy_is_imported_before_it_is_meant() -> None:
    code = "import sys, litelvlm.detectors.registry; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
