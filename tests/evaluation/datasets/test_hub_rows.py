"""A row of a published layout to an image: masks, names, and what cannot be read told by field."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from litelvlm.evaluation.datasets.hub_rows import Row, any_reader, read_jxu, read_lmms, read_moondream
from litelvlm.evaluation.datasets.truth import TrueImage
from litelvlm.evaluation.records import MASKS, TRUTH_SCHEMA
from litelvlm.pipeline.masks import decode_mask, encode_mask
from litelvlm.pipeline.table.columns import detect_columns
from tests.evaluation.datasets.hub_files import (
    JXU_SCHEMA,
    LMMS_SCHEMA,
    MOONDREAM_SCHEMA,
    jpeg,
    jxu_row,
    lmms_row,
    sample,
)
from tests.evaluation.datasets.refer_files import file_name, polygon, true_mask


def _as_read(row: Row, schema: pa.Schema) -> Row:
    """The row as Arrow gives it."""
    [read] = pa.Table.from_pylist([row], schema=schema).to_pylist()
    return dict(read)


def _lmms(**changes: Any) -> TrueImage:
    return read_lmms(_as_read(lmms_row(101, ["man left"]) | changes, LMMS_SCHEMA), 0)


def _jxu(**changes: Any) -> TrueImage:
    return read_jxu(_as_read(jxu_row(1, 101, "val", ["man"]) | changes, JXU_SCHEMA), 0)


def _mask(image: TrueImage) -> np.ndarray:
    [expression] = image.expressions
    assert expression.mask is not None
    return decode_mask(expression.mask)


@pytest.mark.parametrize("part", [polygon((5, 5, 12, 12)), []])
def test_a_polygon_that_is_not_the_whole_object_is_no_truth(part: list[float]) -> None:
    assert np.array_equal(_mask(_lmms()), true_mask(101, image_id=7))
    assert _lmms(segmentation=part).expressions[0].mask is None


@pytest.mark.parametrize(("error_px", "known"), [(2.0, True), (2.5, False)])
def test_a_polygon_may_miss_its_box_by_two_pixels(error_px: float, known: bool) -> None:
    image = _lmms(bbox=[5.0 - error_px, 5.0, 20.0 + error_px, 20.0])
    assert (image.expressions[0].mask is not None) == known


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        ("COCO_train2014_000000000007_101.jpg", "COCO_train2014_000000000007"),
        ("COCO_train2014_000000000007.jpg", "COCO_train2014_000000000007"),
        ("other_set_7_8.v2.jpg", "other_set_7_8.v2"),
    ],
)
def test_objects_of_a_coco_image_share_its_name(name: str, image_id: str) -> None:
    assert _lmms(file_name=name).image_id == image_id


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image": {"bytes": b"no image", "path": None}}, "image: not_an_image"),
        ({"segmentation": [1.0, 2.0, 3.0]}, "segmentation: mask: a polygon of 3 numbers"),
        ({"image": None}, "image: null"),
        ({"bbox": None}, "bbox: null"),
        ({"bbox": [1.0, 2.0]}, "bbox: a list instead of four"),
        ({"bbox": [1.0, 2.0, float("nan"), 4.0]}, "bbox: a list instead of four finite numbers"),
        ({"answer": None}, "answer: null"),
        ({"answer": [None]}, "answer: entry 0: null"),
        ({"file_name": None}, "file_name: null"),
    ],
)
def test_fields_of_lmms_lab_that_cannot_be_read_are_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        _lmms(**changes)


@pytest.mark.parametrize(
    ("segmentation", "area"),
    [([], 0), ([[1, 1, 5, 5], polygon((1, 1, 3, 3))], 4), ([{"size": [40, 60], "counts": [0, 40, 2360]}], 40)],
)
def test_jxu124_segmentations_are_read_as_the_original_files_are(segmentation: list[Any], area: int) -> None:
    assert _mask(_jxu(raw_anns=json.dumps({"segmentation": segmentation}))).sum() == area


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"raw_anns": "[" * 100_000}, "raw_anns: not JSON"),
        ({"raw_anns": "{}"}, "raw_anns: segmentation: mask: null"),
        ({"raw_image_info": '{"height": 1e999, "width": 3}'}, "raw_image_info: height: inf"),
        ({"sentences": None}, "sentences: null"),
        ({"sentences": [{"sent": None}]}, "sentences: entry 0: sent: null"),
        ({"image_path": None}, "image_path: null"),
    ],
)
def test_fields_of_jxu124_that_cannot_be_read_are_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        _jxu(**changes)


def _moondream(samples: list[Row]) -> Row:
    image = {"bytes": jpeg(7), "path": None}
    row = {"image": image, "image_id": 7, "file_name": file_name(7), "samples": samples}
    return _as_read(row, MOONDREAM_SCHEMA)


def test_sentences_of_a_sample_share_its_mask_and_kind() -> None:
    image = read_moondream(_moondream([sample(101, ["man", "guy"]), sample(102, ["dog"]) | {"category": None}]), 0)
    assert [(one.text, one.sentence_id, one.kind) for one in image.expressions] == [
        ("man", "101/0", "person"),
        ("guy", "101/1", "person"),
        ("dog", "102/0", None),
    ]
    assert image.expressions[0].mask == image.expressions[1].mask != image.expressions[2].mask


def test_a_sample_without_a_mask_is_told_by_its_place() -> None:
    row = _moondream([sample(101, ["man"]), sample(102, ["dog"])])
    del row["samples"][1]["mask"]
    with pytest.raises(ValueError, match=r"^samples: entry 1: mask: no such field"):
        read_moondream(row, 0)


def _own_row(**changes: Any) -> Row:
    """A row of this project's own tables of truth."""
    masks = [encode_mask(true_mask(ann_id, image_id=7)).as_coco() for ann_id in (101, 102)]
    given = {
        "image_id": "7", "image": {"bytes": jpeg(7), "path": None}, "phrases": ["man", "dog"], "masks": masks,
        "sentence_ids": ["a", ""], "kinds": ["person", None], "split": "val",
    }  # fmt: skip
    return given | changes


READ_ANY = any_reader(detect_columns(TRUTH_SCHEMA, mask_column=MASKS), MASKS)


def test_ids_and_kinds_run_parallel_to_the_phrases() -> None:
    image = READ_ANY(_own_row(), 4)
    assert [(one.sentence_id, one.kind) for one in image.expressions] == [("a", "person"), ("4/1", None)]
    assert (image.image_id, image.split) == ("7", "val")


@pytest.mark.parametrize("cell", [None, "a", ["a"], ["a", 1]])
def test_ids_that_do_not_run_parallel_are_made_up(cell: Any) -> None:
    image = READ_ANY(_own_row(sentence_ids=cell, split=3), 4)
    assert [one.sentence_id for one in image.expressions] == ["4/0", "4/1"]
    assert image.split is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image": {"bytes": None, "path": "7.jpg"}}, "the image is not embedded; .*--mask-column"),
        ({"masks": [None]}, "masks: .*1 masks for 2 phrases"),
        ({"phrases": ["man", None]}, r"phrase: null.* \(phrase 1\)"),
    ],
)
def test_what_such_a_row_lacks_is_told(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        READ_ANY(_own_row(**changes), 0)
