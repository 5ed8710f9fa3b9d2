"""Rows and their table."""

from __future__ import annotations

from litelvlm.pipeline.masks import EncodedMask
from litelvlm.pipeline.prepare.rows import MASK_SCHEMA, SCHEMA, PreparedRow, to_table

MASK = EncodedMask(size_hw=(2, 3), counts="06", area=6, bbox_xywh=(0.0, 0.0, 3.0, 2.0))


def test_a_table_holds_rows_as_they_are() -> None:
    rows = [
        PreparedRow(image_id="a", data=b"x", path="a.png", phrases=("p", None), masks=(MASK, None)),
        PreparedRow(image_id=None),
    ]
    with_masks = to_table(rows, has_masks=True)
    assert with_masks.schema == MASK_SCHEMA
    assert with_masks.to_pylist() == [
        {
            "image_id": "a",
            "image": {"bytes": b"x", "path": "a.png"},
            "phrases": ["p", None],
            "masks": [{"size": [2, 3], "counts": "06"}, None],
        },
        {"image_id": None, "image": {"bytes": None, "path": None}, "phrases": [], "masks": None},
    ]
    assert to_table(rows, has_masks=False).schema == SCHEMA
    assert to_table([], has_masks=False).num_rows == 0


def test_a_row_knows_about_how_large_it_is() -> None:
    assert PreparedRow(image_id="a", data=b"x" * 1_000).num_bytes >= 1_000
    assert PreparedRow(image_id="a", phrases=("p" * 1_000, None)).num_bytes >= 1_000
