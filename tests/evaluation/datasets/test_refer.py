"""RefCOCO's original files, and gRefCOCO's, to images with expressions and masks."""

import json
import os
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litelvlm.evaluation.datasets.refer import read_refer
from litelvlm.evaluation.datasets.truth import TrueImage, write_truth
from litelvlm.pipeline.masks import decode_mask
from litelvlm.pipeline.storage.store import Storage
from litelvlm.pipeline.table.columns import detect_columns
from litelvlm.pipeline.table.true_masks import parse_masks
from tests.evaluation.datasets import refer_files
from tests.evaluation.datasets.refer_files import read_truth, true_mask, write_grefcoco, write_refcoco


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("dataset", ["refcoco", "refcoco+", "refcocog"])
def test_a_split_is_read_by_image(tmp_path: Path, dataset: str, protocol: int) -> None:
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


def test_texts_that_are_not_ascii(tmp_path: Path) -> None:
    write_refcoco(tmp_path)
    [image] = read_refer(tmp_path, "refcoco", "testA")
    assert image.expressions[0].text == "caf\xe9 woman"


def test_several_and_no_targets(tmp_path: Path) -> None:
    write_grefcoco(tmp_path)
    [image] = read_refer(tmp_path, "grefcoco", "val")
    both, nothing, one = image.expressions
    assert np.array_equal(decode_mask(both.mask), true_mask(101, 102, image_id=7))
    assert (nothing.mask.area, nothing.mask.size_hw, nothing.kind) == (0, (40, 60), "no target")
    assert (both.kind, one.kind) == ("several", "dog")


def _edit_instances(directory: Any, edit: Any) -> None:
    content = json.loads((directory / "instances.json").read_text())
    edit(content)
    (directory / "instances.json").write_text(json.dumps(content))


def test_holes_crowds_and_empty_annotations(tmp_path: Path) -> None:
    directory = write_refcoco(tmp_path)
    crowd = {"size": [40, 60], "counts": [0, 40, 2360]}  # the first column

    def edit(content: Any) -> None:
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
        (lambda content: content["images"][0].update(height="40"), "image 7: height: '40'"),
        (lambda content: content["images"][0].update(height=-5), "image 7: height: -5"),
        (lambda content: content["images"][0].update(width=10**12), "image 7: height, width"),
        (lambda content: content["images"][0].update(id=[7]), "images: entry 0: id: a list"),
        (lambda content: content["annotations"][0].update(image_id=[7]), "annotations: entry 0: image_id: a list"),
        (lambda content: content["annotations"][0].update(category_id=[1]), "annotation 101: category_id: a list"),
        (lambda content: content["annotations"][0].update(segmentation=None), "annotation 101: mask: null"),
        (lambda content: content.update(categories=None), "no list of categories"),
        (lambda content: content.update(categories=["x"]), "categories: entry 0: 'x'"),
        (lambda content: content.pop("annotations"), "no list of annotations"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path: Path, edit: Any, reason: str) -> None:
    _edit_instances(write_refcoco(tmp_path), edit)
    with pytest.raises(ValueError, match=reason):
        list(read_refer(tmp_path, "refcoco", "val"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ann_id": [[101]]}, "ann_id: a list instead"),
        ({"ann_id": [{}]}, "ann_id: a dict instead"),
        ({"ann_id": []}, "ann_id: an empty list"),
        ({"ann_id": None}, "ann_id: null"),
        ({"image_id": [7]}, "image_id: a list"),
        ({"split": [["x"] * 1000] * 1000}, "split: a list"),
        ({"sentences": ["x"]}, "sentences: 'x' instead of an object"),
        ({"sentences": [{"sent": "\ud800", "sent_id": 1}]}, "sentences: sent: .* not valid Unicode"),
    ],
)
def test_references_that_are_none_are_named(tmp_path: Path, change: Any, reason: str) -> None:
    path = write_grefcoco(tmp_path) / "grefs(unc).json"
    references = json.loads(path.read_text())
    references[1] |= change
    path.write_text(json.dumps(references))
    with pytest.raises(ValueError, match=rf"grefs\(unc\)\.json: reference 1: {reason}"):
        list(read_refer(tmp_path, "grefcoco", "val"))


def test_run_lengths_in_a_list_and_a_flat_polygon_are_read(tmp_path: Path) -> None:
    directory = write_refcoco(tmp_path)
    column = {"size": [40, 60], "counts": [0, 40, 2360]}

    def edit(content: Any) -> None:
        content["annotations"][0]["segmentation"] = [column]
        content["annotations"][1]["segmentation"] = refer_files.polygon((1, 1, 3, 3))

    _edit_instances(directory, edit)
    [image] = read_refer(tmp_path, "refcoco", "val")
    assert [item.mask.area for item in image.expressions] == [40, 40, 4]


def test_a_small_pickle_of_something_vast_is_refused_at_once(tmp_path: Path) -> None:
    directory = write_refcoco(tmp_path)
    doubled: Any = ["aaaa"]
    for _ in range(40):
        doubled = [doubled, doubled]
    deep = b"]" * 100_000 + b"a" * 99_999
    vast = (pickle.dumps([{"split": doubled}], 2), b"\x80\x02](}(X\x05\x00\x00\x00split" + deep + b"ue.")
    for content in vast:
        (directory / "refs(unc).p").write_bytes(content)
        started = time.monotonic()
        with pytest.raises(ValueError, match=r"reference 0: split: a list instead of text$"):
            list(read_refer(tmp_path, "refcoco", "val"))
        assert time.monotonic() - started < 5


def test_lists_that_references_share_are_counted_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write_refcoco(tmp_path)
    one = refer_files.REFERENCES[0]
    for count, reason in ((1000, "more than 2500 in split val"), (10_001, "more than 10000 in one reference")):
        monkeypatch.setattr("litelvlm.evaluation.datasets.refer.MAX_EXPRESSIONS", 2500)
        shared = one["sentences"][:1] * count
        (directory / "refs(unc).p").write_bytes(pickle.dumps([one | {"sentences": shared} for _ in range(3)], 2))
        with pytest.raises(ValueError, match=reason):
            list(read_refer(tmp_path, "refcoco", "val"))


class _Runs:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def test_a_hostile_pickle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write_refcoco(tmp_path)
    monkeypatch.chdir(tmp_path)
    (directory / "refs(unc).p").write_bytes(pickle.dumps([_Runs()], 2))
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p: pickle refused"):
        list(read_refer(tmp_path, "refcoco", "val"))
    assert not (tmp_path / "ran").exists()


def test_wrong_names_and_missing_files(tmp_path: Path) -> None:
    write_refcoco(tmp_path)
    for dataset, split, reason in (
        ("coco", "val", "not known"),
        ("refcoco", "test", "testA"),
        ("refcocog", "val", "holds none"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=reason):
            list(read_refer(tmp_path, dataset, split))


def test_what_is_written_is_what_annotation_jobs_read(tmp_path: Path) -> None:
    write_grefcoco(tmp_path / "data")
    storage = Storage(str(tmp_path))
    totals = write_truth(read_refer(tmp_path / "data", "grefcoco", "val"), storage, "truth.parquet")
    assert totals.describe() == "1 images with 3 expressions, 1 of them without a target"
    [row] = read_truth(tmp_path / "truth.parquet")
    masks = parse_masks(row["masks"], (40, 60), 3)
    assert np.array_equal(decode_mask(masks[0]), true_mask(101, 102, image_id=7))
    assert row["sentence_ids"] == ["10", "20", "30"]
    import pyarrow.parquet as pq

    mapping = detect_columns(pq.read_schema(tmp_path / "truth.parquet"))
    assert mapping.describe() == "image=image (struct), phrase=phrases, id=image_id"


@pytest.mark.parametrize("images", [[], [TrueImage(image_id="7", path="7.jpg", data=None, expressions=())]])
def test_nothing_to_write_leaves_no_file(tmp_path: Path, images: Any) -> None:
    with pytest.raises(ValueError, match="no image with an expression there under --split val"):
        write_truth(images, Storage(str(tmp_path)), "truth.parquet", split="val")
    assert list(tmp_path.iterdir()) == []
