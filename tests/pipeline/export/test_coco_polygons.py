"""COCO with polygons, read back by pycocotools and Datumaro."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from datumaro.components.dataset import Dataset
from pycocotools.coco import COCO

from tests.pipeline.export.masked_runs import NAMES, PHRASES, check_images, num_found, truth


def test_coco_polygons_are_read_by_pycocotools(exported: Any, run: Path) -> None:
    output, counts, lines = exported("coco-polygons", tolerance=0.0, images=True)
    coco = COCO(str(output / "annotations/part-00000.json"))
    assert counts["objects"] == len(coco.anns) == num_found(run) == 9
    assert [one["source_id"] for one in coco.loadImgs(coco.getImgIds())] == ["id 0", "id 1", "id 2", "id 3"]
    categories = {one["id"]: one["name"] for one in coco.loadCats(coco.getCatIds())}
    assert categories == {7: "ring", 3: "hälf: of <it>", 300: "dots"}
    for annotation in coco.anns.values():
        image = coco.imgs[annotation["image_id"]]
        number, phrase = int(image["file_name"].split("/")[1][0]), annotation["attributes"]["phrase"]
        np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), truth(number, phrase))
        assert categories[annotation["category_id"]] == NAMES[PHRASES.index(phrase)]
        assert annotation["area"] == truth(number, phrase).sum()
        assert all(len(ring) >= 6 for ring in annotation["segmentation"])
    check_images(output / "images")
    assert lines[0].startswith("outlines of 9 masks, ")
    assert lines[0].endswith("0.00% of their area lost, 0.00% added")
    assert lines[-1] == f"done: 4 images, 9 objects as coco-polygons: {output}"


def test_coco_polygons_are_read_by_datumaro_and_ids_are_the_runs(exported: Any, run: Path) -> None:
    output, _, _ = exported("coco-polygons", tolerance=0.0, images=True)
    mine, theirs = (json.loads((path / "annotations/part-00000.json").read_text()) for path in (output, run))
    for what in ("images", "annotations"):
        assert [one["id"] for one in mine[what]] == [one["id"] for one in theirs[what]]
    assert mine["categories"] == theirs["categories"]
    found = Dataset.import_from(str(output / "annotations/part-00000.json"), "coco_instances")
    assert sum(len(item.annotations) >= 3 for item in found) == 3
