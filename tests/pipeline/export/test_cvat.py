"""What CVAT takes: a task a part, names that are unique without extension, labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset

from litelvlm.pipeline.export.config import ExportConfig
from litelvlm.pipeline.export.run import export
from tests.pipeline.export.masked_runs import NAMES, PHRASES, drawn, num_found, truth
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import png, read_records


def test_a_part_is_a_task_with_its_images(exported: Any, run: Path, tmp_path: Path) -> None:
    output, counts, _ = exported("cvat", images=True)
    assert sorted(path.name for path in (output / "part-00000").iterdir()) == ["annotations.json", "images"]
    assert [one["name"] for one in json.loads((output / "labels.json").read_text())] == NAMES
    mine, theirs = (
        json.loads(path.read_text())["annotations"]
        for path in (output / "part-00000/annotations.json", run / "annotations/part-00000.json")
    )
    assert mine == theirs
    assert counts["objects"] == num_found(run)
    records = {one["record"]: one for one in read_records(run)}
    assert all(records[one["attributes"]["record"]]["phrase"] == one["attributes"]["phrase"] for one in mine)
    # CVAT reads COCO with its fork of Datumaro, which looks for images below `images`
    (tmp_path / "annotations").mkdir()
    shutil.copy(output / "part-00000/annotations.json", tmp_path / "annotations/instances_default.json")
    shutil.copytree(output / "part-00000/images", tmp_path / "images/default")
    found = Dataset.import_from(str(tmp_path), "coco_instances")
    masks = [(item.id, one) for item in found for one in item.annotations if one.type == AnnotationType.mask]
    assert len(masks) == num_found(run)
    for name, one in masks:
        np.testing.assert_array_equal(one.image.astype(bool), truth(int(name[-1]), one.attributes["phrase"]))


def test_images_that_cvat_would_take_for_one_get_other_names_with_their_files(tmp_path: Path) -> None:
    names = ["people/img.png", "people/img.bmp", "people/IMG.png", "people/other.png"]
    rows = [
        {"image_id": name, "image": {"bytes": png(drawn(number)), "path": name}, "phrases": PHRASES}
        for number, name in enumerate(names)
    ]
    make_output(tmp_path, rows, shard_images=2)
    lines: list[str] = []
    export(ExportConfig(run=str(tmp_path / "out"), to="cvat", output=str(tmp_path / "cvat"), images=True), lines.append)
    part = tmp_path / "cvat/part-00000"
    images = json.loads((part / "annotations.json").read_text())["images"]
    given = [one["file_name"] for one in images]
    assert (given[0], given[3]) == (names[0], names[3])
    assert len({name.rsplit(".", 1)[0].casefold() for name in given}) == 4
    assert [one["source_id"] for one in images] == names
    for number, name in enumerate(given):
        assert (part / "images" / name).read_bytes() == png(drawn(number))
    assert lines[0].startswith(
        "2 images have other names here, since extensions do not count, such as people/img.bmp: "
    )
    kept = json.loads((tmp_path / "out/annotations/part-00000.json").read_text())["images"]
    assert [one["file_name"] for one in kept] == names, "plain COCO keeps the user's names"
