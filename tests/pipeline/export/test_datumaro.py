"""Datumaro's own format, read back by Datumaro."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset

from tests.pipeline.export.masked_runs import NAMES, PHRASES, SIZE_HW, num_found, truth


def test_datumaro_reads_its_own(exported: Any, run: Path) -> None:
    output, _, _ = exported("datumaro", images=True)
    found = Dataset.import_from(str(output), "datumaro")
    assert [one.name for one in found.categories()[AnnotationType.label]] == NAMES
    assert {item.id for item in found} == {f"dir.d/{number}" for number in range(4)}
    assert {item.subset for item in found} == {"part-00000"}
    for item in found:
        number = int(item.id[-1])
        assert item.attributes["source_id"] == f"id {number}"
        for annotation in item.annotations:
            phrase = annotation.attributes["phrase"]
            assert annotation.label == PHRASES.index(phrase)
            np.testing.assert_array_equal(annotation.image.astype(bool), truth(number, phrase))
        assert item.media.data.shape[:2] == SIZE_HW
    assert sum(len(item.annotations) for item in found) == num_found(run)
