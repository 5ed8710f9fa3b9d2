"""Formats by content."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import pytest

from litelvlm.pipeline.review.readers.detect import FORMATS, detect, is_companion


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([{"data": {}}], "label-studio"),
        ([], "label-studio"),
        ([{"shapes": []}], "cvat-backup"),
        ({"frames": [], "shapes": []}, "cvat-backup"),
        ({"images": [], "annotations": []}, "coco"),
        ({"items": [], "categories": {}}, "datumaro"),
        ({"samples": []}, "fiftyone"),
        (Element("annotations"), "cvat-xml"),
        (Element("html"), None),
        ([{"image": "a", "label": "b"}], None),
        ([{"data": {}}, 5], None),
        ({"images": {}}, None),
        ({}, None),
        (5, None),
        (None, None),
    ],
)
def test_formats_are_told_by_content(content: object, expected: str | None) -> None:
    assert detect(content) == expected
    assert expected is None or expected in FORMATS


def test_what_lies_beside() -> None:
    assert all(map(is_companion, ("task.json", "a/METADATA.json", "data/manifest.jsonl", "label_config.xml")))
    assert not any(map(is_companion, ("annotations.json", "tasks.json", "instances_default.json")))


def test_beside_instances_lie_other_tasks_of_the_same_images() -> None:
    beside = frozenset({"a/instances_x.json", "instances_y.json"})
    assert is_companion("a/image_info_x.json", beside)
    assert is_companion("person_keypoints_y.json", beside)
    for name in ("a/instances_x.json", "image_info_x.json", "b/image_info_x.json", "a/image_info_z.json"):
        assert not is_companion(name, beside)
