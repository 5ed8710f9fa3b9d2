"""RefCOCO's original files, and gRefCOCO's, to images with expressions and masks."""

import json
import os

import numpy as np
import pytest

from evaluation.refer import read_refer
from evaluation.truth import read_truth, write_truth
from pipeline.columns import detect_columns
from pipeline.ground_truth import parse_masks
from pipeline.masks import decode_mask
from pipeline.storage import Storage
from tests.evaluation import refer_files
from tests.evaluation.refer_files import true_mask, write_grefcoco, write_refcoco


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("dataset", ["refcoco", "refcoco+", "refcocog"])
def test_a_split_is_read_by_image(tmp_path, dataset, protocol):
    write_refcoco(tmp_path, dataset, protocol=protocol)
    [image] = read_refer(tmp_path, dataset, "val")
    assert (image.image_id, image.path, image.split) == ("7", "COCO_train2014_000000000007.jpg", "val")
    assert [(item.text, item.sentence_id, item.kind) for item in image.expressions] == [
        ("man left", "10", "person"),
        ("the guy in red", "11", "person"),
        ("dog", "20", "dog"),
    ]
    for expression, ann_id in zip(image.expressions, (101, 101, 102), strict=True):
        assert np.array_equal(decode_mask(expression.mask), true_mask(ann_id, image_id=7))


def test_texts_that_are_not_ascii(tmp_path):
    write_refcoco(tmp_path)
    [image] = read_refer(tmp_path, "refcoco", "testA")
    assert image.expressions[0].text == "caf\xe9 woman"


def test_several_and_no_targets(tmp_path):
    write_grefcoco(tmp_path)
    [image] = read_refer(tmp_path, "grefcoco", "val")
    both, nothing, one = image.expressions
    assert np.array_equal(decode_mask(both.mask), true_mask(101, 102, image_id=7))
    assert (nothing.mask.area, nothing.mask.size_hw, nothing.kind) == (0, (40, 60), "no target")
    assert (both.kind, one.kind) == ("several", "dog")


def _edit_instances(directory, edit):
    content = json.loads((directory / "instances.json").read_text())
    edit(content)
    (directory / "instances.json").write_text(json.dumps(content))


def test_holes_crowds_and_empty_annotations(tmp_path):
    directory = write_refcoco(tmp_path)
    crowd = {"size": [40, 60], "counts": [0, 40, 2360]}  # the first column

    def edit(content):
        content["annotations"][0]["segmentation"] = crowd
        content["annotations"][1]["segmentation"] = [[1, 2, 3, 4], refer_files.polygon((1, 1, 3, 3))]

    _edit_instances(directory, edit)
    [image] = read_refer(tmp_path, "refcoco", "val")
    assert decode_mask(image.expressions[0].mask)[:, 0].all()
    assert [item.mask.area for item in image.expressions] == [40, 40, 4]
    _edit_instances(directory, lambda content: content["annotations"][1].update(segmentation=[]))
    assert next(read_refer(tmp_path, "refcoco", "val")).expressions[2].mask.area == 0


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda content: content["annotations"].pop(0), "no annotation 101"),
        (lambda content: content["images"].clear(), "lacks image 7"),
        (lambda content: content["annotations"][0].update(segmentation=[["x"] * 6]), "annotation 101: mask"),
        (lambda content: content["images"][0].update(height="40"), "height"),
        (lambda content: content.pop("annotations"), "no list of annotations"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, edit, reason):
    _edit_instances(write_refcoco(tmp_path), edit)
    with pytest.raises(ValueError, match=reason):
        list(read_refer(tmp_path, "refcoco", "val"))


class _Runs:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_a_hostile_pickle_is_refused(tmp_path, monkeypatch):
    directory = write_refcoco(tmp_path)
    monkeypatch.chdir(tmp_path)
    import pickle

    (directory / "refs(unc).p").write_bytes(pickle.dumps([_Runs()], 2))
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p: pickle refused"):
        list(read_refer(tmp_path, "refcoco", "val"))
    assert not (tmp_path / "ran").exists()


def test_wrong_names_and_missing_files(tmp_path):
    write_refcoco(tmp_path)
    for dataset, split, reason in (
        ("coco", "val", "not known"),
        ("refcoco", "test", "testA"),
        ("refcocog", "val", "holds none"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=reason):
            list(read_refer(tmp_path, dataset, split))


def test_what_is_written_is_what_annotation_jobs_read(tmp_path):
    write_grefcoco(tmp_path / "data")
    storage = Storage(str(tmp_path))
    totals = write_truth(read_refer(tmp_path / "data", "grefcoco", "val"), storage, "truth.parquet")
    assert totals.describe() == "1 images with 3 expressions, 1 of them without a target"
    [row] = read_truth(str(tmp_path / "truth.parquet"))
    masks = parse_masks(row["masks"], (40, 60), 3)
    assert np.array_equal(decode_mask(masks[0]), true_mask(101, 102, image_id=7))
    assert row["sentence_ids"] == ["10", "20", "30"]
    import pyarrow.parquet as pq

    mapping = detect_columns(pq.read_schema(tmp_path / "truth.parquet"))
    assert mapping.describe() == "image=image (struct), phrase=phrases, id=image_id"


def test_nothing_to_write_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="no image"):
        write_truth([], Storage(str(tmp_path)), "truth.parquet")
    assert list(tmp_path.iterdir()) == []
