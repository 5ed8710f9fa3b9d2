"""Each format, read back by the library of its users: masks, classes, names and ids survive."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import datasets
import numpy as np
import pytest
import yaml
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset
from PIL import Image
from pycocotools.coco import COCO

from litelvlm.pipeline.export.config import ExportConfig
from litelvlm.pipeline.export.run import export
from tests.pipeline.export.masked_runs import BLUE, CLASSES, GREEN, RED, SIZE_HW, masked_run, num_found, truth

NAMES = [str(one["name"]) for one in CLASSES]
PHRASES = [RED, GREEN, BLUE]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return masked_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def exported(
    run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Path, Counter[str], list[str]]]:
    """Exports once: directory, counts, lines."""
    done: dict[Any, Any] = {}

    def make(to: str, **settings: Any) -> tuple[Path, Counter[str], list[str]]:
        key = to, *settings.items()
        if key not in done:
            output, lines = tmp_path_factory.mktemp("exported"), list[str]()
            config = ExportConfig(run=str(run), to=to, output=str(output), **settings)
            done[key] = output, export(config, lines.append), lines
        return done[key]

    return make


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / max((first | second).sum(), 1))


def check_images(folder: Path) -> None:
    """They are those of the input, with the black one, by their names."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    assert names == [f"dir.d/{number}.png" for number in range(4)]
    with Image.open(folder / names[0]) as image:
        assert image.size == SIZE_HW[::-1]


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


def test_label_maps_hold_ids_and_the_best_score_is_on_top(exported: Any, run: Path) -> None:
    output, counts, lines = exported("label-maps", images=True)
    assert json.loads((output / "labels.json").read_text()) == {
        "0": "background", "7": "ring", "3": "hälf: of <it>", "300": "dots",
    }  # fmt: skip
    objects = json.loads((run / "annotations/part-00000.json").read_text())["annotations"]
    scores = {one["attributes"]["phrase"]: one["score"] for one in objects}
    order = sorted(PHRASES, key=scores.__getitem__)
    for number in range(3):
        expected = np.zeros(SIZE_HW, np.uint16)
        for phrase in order:
            expected[truth(number, phrase)] = CLASSES[PHRASES.index(phrase)]["id"]
        np.testing.assert_array_equal(np.asarray(Image.open(output / f"classes/dir.d/{number}.png")), expected)
        places = np.asarray(Image.open(output / f"objects/dir.d/{number}.png"))
        assert set(np.unique(places)) <= {0, 1, 2, 3}
        np.testing.assert_array_equal(places > 0, expected > 0)
    assert not np.asarray(Image.open(output / "classes/dir.d/3.png")).any()
    assert counts["hidden"] > 0
    assert any(line.startswith("masks overlap: ") for line in lines)


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


@pytest.mark.parametrize("images", [True, False])
def test_a_hub_data_set_is_opened_with_decoded_masks(exported: Any, images: bool, tmp_path: Path) -> None:
    output, _, _ = exported("hf-datasets", images=images)
    found = datasets.load_dataset(str(output), split="train", cache_dir=str(tmp_path))
    assert found["image_id"] == [f"id {number}" for number in range(4)]
    assert found.features["categories"].feature.names == NAMES
    for number, row in enumerate(found):
        assert row["file_name"] == f"dir.d/{number}.png"
        assert [NAMES[at] for at in row["categories"]] == [NAMES[PHRASES.index(one)] for one in row["phrases"]]
        for phrase, mask, area in zip(row["phrases"], row["masks"], row["areas"], strict=True):
            np.testing.assert_array_equal(np.asarray(mask) > 0, truth(number, phrase))
            assert area == truth(number, phrase).sum()
        assert ("image" in row) == images
        assert not images or row["image"].size == SIZE_HW[::-1]
    assert found[3]["masks"] == []
