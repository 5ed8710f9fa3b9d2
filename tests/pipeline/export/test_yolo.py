"""YOLO labels, read back as Ultralytics reads them, and by Datumaro."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from datumaro.components.dataset import Dataset

from tests.pipeline.export.masked_runs import NAMES, PHRASES, SIZE_HW, check_images, iou, truth


def test_yolo_labels_are_read_as_ultralytics_reads_them(exported: Any, run: Path) -> None:
    output, counts, lines = exported("yolo-seg", tolerance=0.0, images=True)
    described = yaml.safe_load((output / "data.yaml").read_text())
    assert described["names"] == dict(enumerate(NAMES))
    check_images(output / described["path"] / described["train"])
    height, width = SIZE_HW
    overlaps = []
    for number in range(3):
        rows = [line.split() for line in (output / f"labels/dir.d/{number}.txt").read_text().splitlines()]
        assert [int(row[0]) for row in rows] == [0, 1, 2]
        for index, row in enumerate(rows):
            points = np.array(row[1:], float).reshape(-1, 2)
            assert ((points >= 0) & (points <= 1)).all()
            mask = np.zeros(SIZE_HW, np.uint8)
            cv2.fillPoly(mask, [(points * (width, height)).round().astype(np.int32)], 1)
            overlaps.append((index, iou(mask.astype(bool), truth(number, PHRASES[index]))))
    assert min(value for index, value in overlaps if index < 2) > 0.85, "fillPoly takes the border along"
    assert (output / "labels/dir.d/3.txt").read_text() == ""
    assert counts["in_pieces"] > 0
    assert any("objects in pieces are one polygon each" in line for line in lines)
    found = Dataset.import_from(str(output), "yolo_ultralytics_segmentation") if _knows_yolo_seg() else None
    assert found is None or len(found) == 4


def _knows_yolo_seg() -> bool:
    from datumaro.components.environment import Environment

    return "yolo_ultralytics_segmentation" in Environment().importers
