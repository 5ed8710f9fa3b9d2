"""COCO files as true masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from litelvlm.evaluation.datasets.coco import read_coco
from litelvlm.jobs.ground_truth import main
from litelvlm.pipeline.masks import EncodedMask, decode_mask, encode_mask
from tests.pipeline.samples import png

SIZE = (20, 30)


def square(top: int, left: int, side: int = 6) -> np.ndarray:
    found = np.zeros(SIZE, bool)
    found[top : top + side, left : left + side] = True
    return found


def coco(*annotations: dict[str, Any]) -> dict[str, Any]:
    images = [{"id": 1, "file_name": "a/1.png", "height": 20, "width": 30, "source_id": "one"},
              {"id": 2, "file_name": "2.png", "height": 20, "width": 30}]  # fmt: skip
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"images": images, "categories": categories, "annotations": list(annotations)}


def annotation(mask: np.ndarray, category: int = 1, phrase: str | None = None, **changes: Any) -> dict[str, Any]:
    about = {} if phrase is None else {"attributes": {"phrase": phrase}}
    one = {"id": 5, "image_id": 1, "category_id": category, "segmentation": encode_mask(mask).as_coco()}
    return one | about | changes


def written(tmp_path: Path, content: Any) -> str:
    path = tmp_path / "labels.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def pixels(mask: EncodedMask | None) -> np.ndarray:
    assert mask is not None
    return decode_mask(mask)


def test_annotations_of_one_phrase_are_one_expression(tmp_path: Path) -> None:
    polygon = [[2, 2, 8, 2, 8, 8, 2, 8]]
    content = coco(
        annotation(square(0, 0)), annotation(square(10, 10)), annotation(square(3, 20), 2, "the small dog"),
        annotation(square(0, 0), 2, segmentation=polygon, image_id=2, iscrowd=1),
    )  # fmt: skip
    first, second = read_coco([written(tmp_path, content)], {})
    assert (first.image_id, first.path, second.image_id) == ("one", "a/1.png", "2")
    assert [one.text for one in first.expressions] == ["cat", "the small dog"]
    np.testing.assert_array_equal(pixels(first.expressions[0].mask), square(0, 0) | square(10, 10))
    np.testing.assert_array_equal(pixels(first.expressions[1].mask), square(3, 20))
    assert second.expressions[0].text == "dog"
    assert pixels(second.expressions[0].mask)[2:8, 2:8].all()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no COCO file"),
        ([], "is no COCO file"),
        (coco() | {"images": 5}, "images is 5, expected a list of objects"),
        (coco(annotation(square(0, 0), segmentation=None)), "image 1, annotation 5: mask"),
        (coco(annotation(square(0, 0), category=9)), "neither a phrase nor a category"),
        (coco(annotation(square(0, 0).T)), "image 1, annotation 5: mask"),
        (coco(annotation(square(0, 0))) | {"images": [{"id": 1, "file_name": "a"}]}, "no height and width"),
        (coco(annotation(square(0, 0))) | {"images": [{"id": 1}]}, "no file_name"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        list(read_coco([written(tmp_path, content)], {}))


def test_the_job_writes_a_table_with_its_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images/a").mkdir(parents=True)
    image = png(np.zeros((*SIZE, 3), np.uint8))
    (tmp_path / "images/a/1.png").write_bytes(image)
    path, output = written(tmp_path, coco(annotation(square(0, 0)))), tmp_path / "truth.parquet"
    assert main(["coco", "--input", path, "--embed-images", str(tmp_path / "images"), "--output", str(output)]) == 0
    (row,) = pq.read_table(output).to_pylist()
    assert row["image"]["bytes"] == image
    assert row["phrases"] == ["cat"]
    assert "1 images with 1 expressions" in capsys.readouterr().out
    assert main(["coco", "--input", str(tmp_path / "none.json"), "--output", str(output)]) == 2
