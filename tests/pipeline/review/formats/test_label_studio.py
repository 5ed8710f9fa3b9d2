"""The files of an export for Label Studio."""

from __future__ import annotations

import json
import xml.etree.ElementTree as trees
from pathlib import Path

import pytest

from litelvlm.pipeline.export.formats import Files
from litelvlm.pipeline.ontology import OBJECT, Category
from litelvlm.pipeline.review.formats import label_studio
from litelvlm.pipeline.review.formats.label_studio import LabelStudio, label_config
from litelvlm.pipeline.storage.store import Storage
from tests.review_tools.drawn import masked_images

CLASSES = (OBJECT, Category(id=2, name='th"<&é'))


def test_one_part_is_one_file_with_images_and_config(tmp_path: Path) -> None:
    written = LabelStudio(CLASSES, with_images=True)
    with Files(Storage(str(tmp_path))) as files:
        written.write("part-00000", masked_images(), files)
        written.finish(["part-00000"], files)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["images/a/0.png", "images/a/1.png", "label_config.xml", "tasks.json"]
    tasks = json.loads((tmp_path / "tasks.json").read_bytes())
    assert [one["data"]["image_id"] for one in tasks] == ["id 0", "id 1"]


def test_several_parts_and_large_ones_are_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_studio, "MAX_FILE_BYTES", 10_000)
    with Files(Storage(str(tmp_path))) as files:
        for part in ("a", "b"):
            LabelStudio(CLASSES, is_alone=False).write(part, masked_images(3 if part == "a" else 0), files)
    found = {path.name: len(json.loads(path.read_bytes())) for path in tmp_path.iterdir() if path.is_file()}
    assert sum(found.values()) == 3
    assert {"tasks-a.json", "tasks-a-2.json", "tasks-b.json"} <= set(found)
    assert found["tasks-b.json"] == 0


def test_the_config_has_the_controls_of_the_tasks_and_names_classes_safely() -> None:
    brush, bitmask = (trees.fromstring(label_config(labels)) for labels in (None, [one.name for one in CLASSES]))
    names = {one.attrib["name"]: one.tag for one in brush.iter() if "name" in one.attrib}
    assert names == {
        "brush": "BrushLabels", "image": "Image", "phrase": "TextArea", "verdict": "Choices", "absent": "Choices",
    }  # fmt: skip
    assert [one.attrib["value"] for one in bitmask.iter("Label")] == ["object", 'th"<&é']
    (image,) = brush.iter("Image")
    assert image.attrib["rotateControl"] == "false", "a turned image's masks are read by nobody"
