"""The libraries that people import with read every mask back, pixel by pixel."""

import contextlib
import io
import json
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.output.coco import CocoAnnotation
from tests.pipeline.output.coco_writer import CocoWriter
from tests.pipeline.output.test_coco import Parts

# Height, width and masks of each image; "c" has none and must keep its entry.
SIZES = {"a.jpg": (64, 96), "sub/b.jpg": (33, 17), "sub/c.jpg": (8, 8), "d.png": (1, 40), "e f.jpg": (50, 1)}


def _masks(name: str) -> list[np.ndarray]:
    height, width = SIZES[name]
    rows, columns = np.mgrid[:height, :width]
    round_one = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 <= (0.4 * min(height, width)) ** 2 + 1
    ring = round_one & ((rows - height // 2) ** 2 + (columns - width // 2) ** 2 > 4)
    scattered = (rows * 7 + columns * 13) % 5 == 0
    one_pixel = (rows == height - 1) & (columns == width - 1)
    everything = np.ones((height, width), bool)
    return (
        []
        if name == "sub/c.jpg"
        else [mask for mask in (round_one, ring, scattered, one_pixel, everything) if mask.any()]
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A data set in datumaro's and CVAT's layout: annotations/*.json beside the images."""
    root = tmp_path_factory.mktemp("coco")
    parts = Parts()
    writer = CocoWriter(parts)
    for name, (height, width) in SIZES.items():
        annotations = [
            CocoAnnotation(mask=encode_mask(mask), phrase=f"{name} {index}", score=index / 10)
            for index, mask in enumerate(_masks(name))
        ]
        writer.add_image(file_name=name, height=height, width=width, annotations=annotations)
        path = root / "images" / "part" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height)).save(path)
    writer.close()
    (root / "annotations").mkdir()
    path = root / "annotations" / "instances_part.json"
    path.write_bytes(parts["part-00000.json"])
    return root


def _instances(dataset: Any) -> str:
    return str(dataset / "annotations" / "instances_part.json")


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    return (first & second).sum() / (first | second).sum()


def test_pycocotools(dataset: Any) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(_instances(dataset))
    assert {image["file_name"] for image in coco.imgs.values()} == set(SIZES)
    for image in coco.imgs.values():
        masks = _masks(image["file_name"])
        entries = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        assert len(entries) == len(masks)
        for entry, mask in zip(entries, masks, strict=True):
            assert np.array_equal(coco.annToMask(entry).astype(bool), mask)
            assert entry["area"] == mask.sum()


def test_pycocotools_evaluates_the_masks(dataset: Any) -> None:
    # Against themselves as detections: were the masks marked as crowds, this would give -1.
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(_instances(dataset))
        detections = truth.loadRes([dict(entry, score=1.0) for entry in truth.anns.values()])
        evaluation = COCOeval(truth, detections, "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_supervision(dataset: Any) -> None:
    supervision = pytest.importorskip("supervision")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = supervision.DetectionDataset.from_coco(
            images_directory_path=str(dataset / "images" / "part"),
            annotations_path=_instances(dataset),
            force_masks=True,
        )
    found = {
        path.removeprefix(str(dataset / "images" / "part") + "/"): found for path, found in loaded.annotations.items()
    }
    assert set(found) == set(SIZES)
    for name in SIZES:
        masks = _masks(name)
        assert len(found[name]) == len(masks)
        for index, mask in enumerate(masks):
            assert _iou(np.asarray(found[name].mask[index]), mask) == 1


def test_datumaro(dataset: Any) -> None:
    from datumaro.components.annotation import AnnotationType
    from datumaro.components.dataset import Dataset

    loaded = Dataset.import_from(str(dataset), "coco_instances")
    items = {item.id: item for item in loaded}
    assert set(items) == {name.rpartition(".")[0] for name in SIZES}
    for name, (height, width) in SIZES.items():
        item = items[name.rpartition(".")[0]]
        masks = _masks(name)
        # datumaro makes a box of every bbox too, and keeps an order of its own.
        found = sorted(
            (entry for entry in item.annotations if entry.type is AnnotationType.mask), key=lambda mask: mask.id
        )
        assert {entry.type for entry in item.annotations} <= {AnnotationType.mask, AnnotationType.bbox}
        assert len(found) == len(masks)
        assert tuple(item.media.size) == (height, width)
        for index, (entry, mask) in enumerate(zip(found, masks, strict=True)):
            assert _iou(np.asarray(entry.image, bool), mask) == 1
            assert entry.get_area() == mask.sum()
            assert entry.attributes["phrase"] == f"{name} {index}"
            assert entry.attributes["score"] == index / 10
            assert entry.attributes["is_crowd"] is False


def test_the_fixture_covers_an_image_without_masks(dataset: Any) -> None:
    content = json.loads((dataset / "annotations" / "instances_part.json").read_bytes())
    assert len(content["images"]) == len(SIZES)
    assert len({entry["image_id"] for entry in content["annotations"]}) == len(SIZES) - 1
