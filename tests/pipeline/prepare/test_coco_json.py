"""COCO json: categories, captions, masks; and files that lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.masks import decode_mask
from litelvlm.pipeline.prepare.coco_json import coco_pieces
from litelvlm.pipeline.prepare.pieces import Notes, SourceFile
from litelvlm.pipeline.prepare.rows import PreparedRow
from tests.pipeline.prepare.collections import NAMES, PHRASES, coco_content, compressed, true_mask


def rows_of(path: Path, content: Any) -> tuple[list[PreparedRow], bool, list[str]]:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    pieces, has_masks = coco_pieces(SourceFile(path=str(path), size=path.stat().st_size), {})
    notes = Notes()
    return [row for piece in pieces for row in piece.rows(notes)], has_masks, notes.lines()


def test_run_lengths_are_masks_like_polygons(tmp_path: Path) -> None:
    rows, has_masks, notes = rows_of(tmp_path / "x.json", coco_content(compressed()))
    assert has_masks
    assert [(row.path, list(row.phrases)) for row in rows] == list(zip(NAMES, PHRASES, strict=True))
    assert [row.image_id for row in rows] == ["1", "2", "3", "4"]
    assert all((decode_mask(mask) == true_mask()).all() for row in rows for mask in row.masks or () if mask)
    assert notes == []


def test_objects_of_a_category_are_one_phrase_and_one_mask(tmp_path: Path) -> None:
    content = coco_content([[0, 0, 5, 0, 5, 5, 0, 5]])
    content["annotations"] += [
        {"image_id": 1, "category_id": 3, "segmentation": [[20, 10, 30, 10, 30, 20, 20, 20]]},
        {"image_id": 2, "category_id": 1, "segmentation": []},
    ]
    rows, _, _ = rows_of(tmp_path / "x.json", content)
    assert rows[0].phrases == ("the red box",)
    assert rows[0].masks is not None
    assert rows[0].masks[0] is not None
    assert rows[0].masks[0].area == 25 + 100
    assert rows[1].masks is not None
    assert rows[1].masks[0] is None, "one of its objects has no mask: what there is is not all"


def test_captions_are_phrases_without_masks(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 5, "file_name": "a.jpg", "height": 4, "width": 4}],
        "annotations": [{"image_id": 5, "caption": text} for text in ("a dog", "a cat", "a dog")],
    }
    rows, has_masks, _ = rows_of(tmp_path / "x.json", content)
    assert not has_masks
    assert (rows[0].phrases, rows[0].masks) == (("a dog", "a cat"), (None, None))


@pytest.mark.parametrize(
    "lie",
    [
        {"height": 10**6, "width": 10**6},
        {"height": -5, "width": 5},
        {"height": "24", "width": 36},
        {"height": 12, "width": 36},
    ],
)
def test_sizes_that_lie_cost_masks_and_no_memory(tmp_path: Path, lie: dict[str, Any]) -> None:
    content = coco_content(compressed())
    content["images"][0] |= lie
    rows, _, notes = rows_of(tmp_path / "x.json", content)
    assert rows[0].masks == (None,)
    assert notes == [f"1 categories have a segmentation that is no mask of their image's size, the first in {NAMES[0]}"]
    assert all(mask is not None for row in rows[1:] for mask in row.masks or ())


@pytest.mark.parametrize(
    "segmentation", ["text", {"size": [24, 36], "counts": [10**12]}, [[1, 2]], [["a"]], {"counts": None}, 7]
)
def test_segmentations_that_are_none_cost_their_mask(tmp_path: Path, segmentation: Any) -> None:
    rows, _, _ = rows_of(tmp_path / "x.json", coco_content(segmentation))
    assert [row.phrases for row in rows] == [tuple(phrases) for phrases in PHRASES]
    assert all(mask is None for row in rows for mask in row.masks or ())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "must hold an object"),
        ({"annotations": []}, "must hold lists of `images` and `annotations`"),
        ({"images": [{"id": 1}]}, "image 1 has no file_name"),
    ],
)
def test_what_is_no_coco_is_refused(tmp_path: Path, content: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"x\.json: .*{reason}"):
        rows_of(tmp_path / "x.json", content)


def test_odd_entries_are_passed_over(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}, 7],
        "annotations": [None, {"image_id": 9, "category_id": 1}, {"image_id": 1, "category_id": 99}, {"image_id": [1]}],
        "categories": [{"id": 1, "name": 5}, "x"],
    }
    rows, _, _ = rows_of(tmp_path / "x.json", content)
    assert [(row.path, row.phrases) for row in rows] == [("a.jpg", ())]
