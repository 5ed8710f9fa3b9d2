"""Folders, and YOLO's labels beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from litelvlm.pipeline.masks import decode_mask
from litelvlm.pipeline.prepare.folders import (
    FolderPiece,
    YoloPiece,
    below,
    folder_pieces,
    label_path,
    union,
    yolo_classes,
)
from litelvlm.pipeline.prepare.pieces import Notes, SourceFile
from litelvlm.pipeline.prepare.rows import PreparedRow
from litelvlm.pipeline.table.true_masks import parse_mask
from tests.pipeline.samples import png


def test_a_folder_is_cut_into_pieces_in_order() -> None:
    files = [SourceFile(path=f"/data/{number:04}.png", size=number) for number in range(1_200)]
    pieces = folder_pieces("/data", files)
    assert [len(piece.files) for piece in pieces if isinstance(piece, FolderPiece)] == [500, 500, 200]
    names = [row.image_id for piece in pieces for row in piece.rows(Notes())]
    assert names == [f"{number:04}.png" for number in range(1_200)]
    assert len({piece.identity for piece in pieces}) == 3


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("set/images/a.b.jpg", "set/labels/a.b.txt"),
        ("images/images/a.jpg", "images/labels/a.txt"),
        ("a.jpg", "labels/a.txt"),
        ("train/a", "labels/train/a.txt"),
    ],
)
def test_labels_lie_where_yolo_looks(image: str, label: str) -> None:
    assert label_path(image) == label


def rows_of(root: Path, labels: str, classes: tuple[str, ...] = ("cat", "dog")) -> tuple[PreparedRow, Notes]:
    (root / "images").mkdir(exist_ok=True)
    (root / "labels").mkdir(exist_ok=True)
    (root / "images/a.png").write_bytes(png(np.zeros((20, 40, 3), np.uint8)))
    (root / "labels/a.txt").write_text(labels)
    files = (SourceFile(path=str(root / "images/a.png"), size=1),)
    notes = Notes()
    (row,) = YoloPiece(root=str(root), files=files, classes=classes, options={}).rows(notes)
    return row, notes


def test_polygons_of_a_class_are_one_mask(tmp_path: Path) -> None:
    left, right = "0 0 0 0.25 0 0.25 1 0 1", "0 0.75 0 1 0 1 1 0.75 1"
    row, notes = rows_of(tmp_path, f"{left}\n{right}\n")
    assert (row.image_id, row.path, row.phrases) == ("images/a.png", "images/a.png", ("cat",))
    assert row.masks is not None
    assert row.masks[0] is not None
    expected = np.zeros((20, 40), bool)
    expected[:, :10] = expected[:, 30:] = True
    assert (decode_mask(row.masks[0]) == expected).all()
    assert notes.lines() == []


def test_a_box_says_that_it_is_there_and_is_no_mask(tmp_path: Path) -> None:
    row, _ = rows_of(tmp_path, "1 0.5 0.5 0.2 0.2\n0 0 0 1 0 1 1\n1 0 0 1 0 1 1\n")
    assert row.phrases == ("dog", "cat")
    assert row.masks is not None
    assert row.masks[0] is None
    assert row.masks[1] is not None


def test_lines_that_make_no_sense_are_left_out_and_told(tmp_path: Path) -> None:
    bad = ["7 0.5 0.5 0.1 0.1", "x", "0 0.5", "0 nan 0.5 0.1 0.1", "0 9 9 9 9 9 9", "-1 0 0 1 1", "0 0 0 1 0 1 1 1"]
    row, notes = rows_of(tmp_path, "\n".join(bad) + "\n\n1 0 0 1 0 1 1\n")
    assert row.phrases == ("dog",)
    assert notes.lines() == ["7 lines of labels make no sense and are left out, the first in labels/a.txt"]


def test_an_image_without_labels_asks_for_nothing(tmp_path: Path) -> None:
    rows_of(tmp_path, "")
    (tmp_path / "labels/a.txt").unlink()
    files = (SourceFile(path=str(tmp_path / "images/a.png"), size=1),)
    notes = Notes()
    (row,) = YoloPiece(root=str(tmp_path), files=files, classes=("cat",), options={}).rows(notes)
    assert (row.phrases, row.masks) == ((), ())
    assert notes.lines() == []


def test_an_image_that_is_none_has_labels_without_masks(tmp_path: Path) -> None:
    rows_of(tmp_path, "0 0 0 1 0 1 1\n")
    (tmp_path / "images/a.png").write_bytes(b"no image")
    files = (SourceFile(path=str(tmp_path / "images/a.png"), size=1),)
    notes = Notes()
    (row,) = YoloPiece(root=str(tmp_path), files=files, classes=("cat",), options={}).rows(notes)
    assert (row.phrases, row.masks) == (("cat",), (None,))
    assert "images cannot be read, so that their labels are no masks" in notes.lines()[0]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("data.yaml", b"names: [cat, dog]", ["cat", "dog"]),
        ("data.yaml", b"names: {1: dog, 0: cat}", ["cat", "dog"]),
        ("data.yml", b"\xef\xbb\xbfnames:\n- cat\n- 7\n", ["cat", "7"]),
        ("classes.txt", b"cat\n\n dog \n", ["cat", "dog"]),
    ],
)
def test_classes(name: str, data: bytes, expected: list[str]) -> None:
    assert yolo_classes(name, data) == expected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"names: {1: dog}", "`names` must list the classes"),
        (b"names: []", "`names` must list the classes"),
        (b"path: .", "`names` must list the classes"),
        (b"- a", "`names` must list the classes"),
        (b"names: [", "is not valid YAML"),
        (b"a: &x [1]\nnames: *x", "YAML anchors"),
        (b"a: !!python/object/apply:os.system ['true']\nnames: [a]", "is not valid YAML"),
        (b"\xff\xfe", "is not text"),
        (b"names: [a]" + b" " * (1 << 20), "is not text of at most"),
    ],
)
def test_a_description_that_is_none_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"data.yaml.*{reason}"):
        yolo_classes("data.yaml", data)


def test_masks_are_united() -> None:
    halves = [parse_mask([[x, 0, x + 10, 0, x + 10, 20, x, 20]], (20, 40)) for x in (0, 20)]
    assert None not in halves
    both = union([one for one in halves if one is not None])
    assert both.area == 400
    assert both.bbox_xywh == (0.0, 0.0, 30.0, 20.0)
    assert below("/data/a/b.png", "/data") == "a/b.png"
