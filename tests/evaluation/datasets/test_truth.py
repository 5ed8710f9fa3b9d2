"""Images with true masks: written a row group at a time, counted, and not at all where nothing is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from litelvlm.evaluation.datasets.truth import ROWS_PER_GROUP, Expression, TrueImage, union_of, write_truth
from litelvlm.pipeline.masks import decode_mask, encode_mask
from litelvlm.pipeline.storage.store import Storage
from tests.evaluation.masks import CORNER, EMPTY, LEFT, MASK_PAIRS, MIDDLE, Mask


def _image(number: int, *masks: Mask | None) -> TrueImage:
    expressions = tuple(
        Expression(text=f"phrase {index}", mask=None if mask is None else encode_mask(mask), kind="box")
        for index, mask in enumerate(masks)
    )
    return TrueImage(image_id=str(number), path=f"{number}.png", data=None, expressions=expressions)


def test_rows_are_written_in_groups_and_counted(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    images = [_image(number, LEFT, EMPTY, None) for number in range(ROWS_PER_GROUP + 1)]
    totals = write_truth(iter(images), storage, "truth.parquet")
    assert totals.describe() == (
        "65 images with 195 expressions, 65 of them without a target, 65 without a usable mask"
    )
    metadata = pq.read_metadata(tmp_path / "truth.parquet")
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [64, 1]
    assert pq.read_table(tmp_path / "truth.parquet").to_pylist() == [image.as_row() for image in images]


def test_a_table_without_expressions_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no image with an expression there under --split testA"):
        write_truth([_image(0)], Storage(str(tmp_path)), "truth.parquet", split="testA")
    assert list(tmp_path.iterdir()) == []


def test_what_fails_half_way_publishes_nothing(tmp_path: Path) -> None:
    def broken() -> list[TrueImage]:
        raise ValueError("row 2: image: not_an_image")

    images = (one for part in ([_image(0, LEFT)],) for one in (*part, *broken()))
    with pytest.raises(ValueError, match="row 2"):
        write_truth(images, Storage(str(tmp_path)), "truth.parquet")
    assert list(tmp_path.iterdir()) == []


def test_an_image_is_as_large_as_its_first_known_mask() -> None:
    assert _image(0, None, CORNER).size_hw == CORNER.shape
    assert _image(0, None).size_hw is None


def test_the_union_of_no_mask_is_empty() -> None:
    union = union_of([], (10, 20))
    assert (union.size_hw, union.area) == ((10, 20), 0)
    assert union_of([encode_mask(LEFT), encode_mask(MIDDLE)], (10, 20)).area == 150


@settings(max_examples=50, deadline=None, derandomize=True)
@given(MASK_PAIRS)
def test_a_union_is_numpys(pair: tuple[Mask, Mask]) -> None:
    found = union_of([encode_mask(mask) for mask in pair], pair[0].shape)
    assert np.array_equal(decode_mask(found), pair[0] | pair[1])
