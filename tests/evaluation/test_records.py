"""Tables of truth are found by the pipeline as they are; no fact of a row is without a column."""

from __future__ import annotations

import pyarrow as pa

from litelvlm.evaluation.datasets.truth import Expression, TrueImage
from litelvlm.evaluation.records import MASKS, TRUTH_SCHEMA
from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.table.columns import ColumnMapping, detect_columns
from tests.evaluation.masks import CORNER, EMPTY


def test_the_pipeline_finds_the_columns_of_a_table_of_truth() -> None:
    found = detect_columns(TRUTH_SCHEMA, mask_column=MASKS)
    assert found == ColumnMapping(
        image="image", image_kind="struct", path_field="path", phrase="phrases", id="image_id", mask=MASKS
    )


def test_a_true_image_fills_every_column() -> None:
    asked = tuple(Expression(text=str(mask.sum()), mask=encode_mask(mask)) for mask in (CORNER, EMPTY))
    row = TrueImage(image_id="7", path=None, data=b"png", expressions=asked, split="val").as_row()
    assert list(row) == TRUTH_SCHEMA.names
    assert pa.Table.from_pylist([row], schema=TRUTH_SCHEMA).to_pylist() == [row]
