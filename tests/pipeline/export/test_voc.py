"""Pascal VOC, read back by Datumaro."""

from __future__ import annotations

from typing import Any

import numpy as np
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset
from PIL import Image

from tests.pipeline.export.masked_runs import BLUE, GREEN, RED, SIZE_HW, truth


def test_pascal_voc_is_read_by_datumaro(exported: Any) -> None:
    output, _, _ = exported("voc", images=True)
    found = Dataset.import_from(str(output), "voc")
    assert {item.id for item in found} == {f"dir.d/{number}" for number in range(4)}
    labels = [one.name for one in found.categories()[AnnotationType.label]]
    assert labels == ["background", "ring", "hälf  of <it>", "dots"]
    item = next(item for item in found if item.id == "dir.d/1")
    boxes = [one for one in item.annotations if one.type == AnnotationType.bbox]
    assert sorted(labels[box.label] for box in boxes) == sorted(labels[1:])
    ring = next(box for box in boxes if labels[box.label] == "ring")
    assert (ring.x, ring.y, ring.w, ring.h) == (10, 5, 40, 30)
    assert ring.attributes["phrase"] == RED
    masks = [one for one in item.annotations if one.type == AnnotationType.mask]
    both = np.zeros(SIZE_HW, bool)
    for mask in masks:
        both |= mask.image.astype(bool)
    np.testing.assert_array_equal(both, truth(1, RED) | truth(1, GREEN) | truth(1, BLUE))
    assert item.media.size == SIZE_HW
    classes = Image.open(output / "SegmentationClass/dir.d/1.png")
    assert classes.mode == "P"
    assert set(np.unique(np.asarray(classes))) <= {0, 1, 2, 3}
    assert classes.getpalette()[3:6] == [128, 0, 0]
