"""The published Parquet layouts: known by their columns, read over files, told by file and row."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.evaluation.datasets.hub_tables import layout_of, read_hub_tables
from litelvlm.evaluation.datasets.truth import TrueImage
from litelvlm.pipeline.masks import decode_mask
from tests.evaluation.datasets.hub_files import (
    IMAGE,
    JXU_SCHEMA,
    LMMS_SCHEMA,
    MOONDREAM_SCHEMA,
    SAMPLE,
    jpeg,
    jxu_row,
    lmms_row,
    sample,
)
from tests.evaluation.datasets.refer_files import BOXES, file_name, picture, true_mask


def _write(tmp_path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> str:
    path = str(tmp_path / "table.parquet")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def _read(path: str, **options: Any) -> list[TrueImage]:
    return list(read_hub_tables([path], {}, **options))


def _check_masks(image: TrueImage, ann_ids: list[int]) -> None:
    image_id = BOXES[ann_ids[0]][0]
    for expression, ann_id in zip(image.expressions, ann_ids, strict=True):
        assert expression.mask is not None
        assert np.array_equal(decode_mask(expression.mask), true_mask(ann_id, image_id=image_id))


def test_lmms_lab(tmp_path: Path) -> None:
    rows = [lmms_row(101, ["man left", "guy"]), lmms_row(102, ["dog"]), lmms_row(103, ["woman"])]
    path = _write(tmp_path, rows, LMMS_SCHEMA)
    assert layout_of(pq.read_schema(path)) == "lmms-lab"
    first, second = _read(path)
    assert (first.image_id, second.image_id) == ("COCO_train2014_000000000007", "COCO_train2014_000000000009")
    assert [(item.text, item.sentence_id) for item in first.expressions] == [
        ("man left", "101/0"),
        ("guy", "101/1"),
        ("dog", "102/0"),
    ]
    assert first.data == rows[0]["image"]["bytes"]
    _check_masks(first, [101, 101, 102])


def test_jxu124(tmp_path: Path) -> None:
    rows = [
        jxu_row(1, 101, "val", ["man left", "guy"]),
        jxu_row(2, 102, "val", ["dog"]),
        jxu_row(3, 103, "testA", ["woman"]),
    ]
    path = _write(tmp_path, rows, JXU_SCHEMA)
    assert layout_of(pq.read_schema(path)) == "jxu124"
    [image] = _read(path, split="val")
    assert (image.image_id, image.path, image.data) == ("7", file_name(7), None)
    assert [item.sentence_id for item in image.expressions] == ["10", "11", "20"]
    _check_masks(image, [101, 101, 102])
    assert [item.image_id for item in _read(path)] == ["7", "9"]


def test_moondream(tmp_path: Path) -> None:
    row = {
        "image": {"bytes": jpeg(7), "path": None},
        "image_id": 7,
        "file_name": file_name(7),
        "samples": [sample(101, ["man left", "guy"]), sample(102, ["dog"])],
    }
    path = _write(tmp_path, [row], MOONDREAM_SCHEMA)
    assert layout_of(pq.read_schema(path)) == "moondream"
    [image] = _read(path)
    assert [item.kind for item in image.expressions] == ["person"] * 3
    _check_masks(image, [101, 101, 102])


def test_any_table_with_a_mask_column(tmp_path: Path) -> None:
    png = io.BytesIO()
    picture(7).save(png, "png")
    mask = io.BytesIO()
    from PIL import Image

    Image.fromarray(true_mask(102, image_id=7)).save(mask, "png")
    row = {"picture": png.getvalue(), "text": "dog", "segment": {"bytes": mask.getvalue(), "path": None}}
    schema = pa.schema([("picture", pa.binary()), ("text", pa.string()), ("segment", IMAGE)])
    path = _write(tmp_path, [row], schema)
    [image] = _read(path, mask_column="segment", image_column="picture")
    _check_masks(image, [102])
    with pytest.raises(ValueError, match="--mask-column"):
        _read(path)
    with pytest.raises(ValueError, match="no such column"):
        _read(path, mask_column="masks")


def test_a_row_that_cannot_be_read_is_told_by_file_and_row(tmp_path: Path) -> None:
    rows = [jxu_row(1, 101, "val", ["man"]), jxu_row(2, 102, "val", ["dog"]) | {"sentences": None}]
    with pytest.raises(ValueError, match=r"table\.parquet: row 1: sentences: null"):
        _read(_write(tmp_path, rows, JXU_SCHEMA))


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path, [jxu_row(1, 101, "val", ["man"])], JXU_SCHEMA)
    with pytest.raises(ValueError, match="--split testA: no row of this split; there are 'val'"):
        _read(path, split="testA")


ANY_SCHEMA = pa.schema([("image", IMAGE), ("text", pa.list_(pa.binary())), ("mask", SAMPLE.field("mask").type)])


@pytest.mark.parametrize(
    ("text", "reason"),
    [(b"y" * 100_000, "100000 characters"), (b"\xff\xfe", "not valid UTF-8"), (None, "null")],
)
def test_phrases_that_cannot_be_asked_are_refused(tmp_path: Path, text: bytes | None, reason: str) -> None:
    row = {"image": {"bytes": jpeg(7), "path": None}, "text": [b"dog", text], "mask": sample(102, [])["mask"]}
    path = _write(tmp_path, [row], ANY_SCHEMA)
    with pytest.raises(ValueError, match=rf"row 0: phrase: {reason}.* \(phrase 1\)"):
        _read(path, mask_column="mask")


def test_text_that_is_not_utf8_and_files_that_are_not_parquet_are_named(tmp_path: Path) -> None:
    row = {"image": {"bytes": jpeg(7), "path": None}, "text": [b"\xff\xfe"], "mask": sample(102, [])["mask"]}
    table = pa.Table.from_pylist([row], schema=ANY_SCHEMA)
    texts = table["text"].combine_chunks()
    damaged = pa.StringArray.from_buffers(1, *texts.values.buffers()[1:])
    path = str(tmp_path / "table.parquet")
    pq.write_table(table.set_column(1, "text", damaged), path)
    with pytest.raises(ValueError, match=r"table\.parquet: row 0: text: not valid UTF-8"):
        _read(path, mask_column="mask")
    for content in (b"", b"hello" * 100):
        (tmp_path / "table.parquet").write_bytes(content)
        with pytest.raises(ValueError, match=r"table\.parquet: not readable Parquet: it does not end"):
            _read(path, mask_column="mask")


def test_damaged_pages_are_told_with_the_file(tmp_path: Path) -> None:
    path = _write(tmp_path, [jxu_row(1, 101, "val", ["man"])], JXU_SCHEMA)
    content = bytearray((tmp_path / "table.parquet").read_bytes())
    start = pq.read_metadata(path).row_group(0).column(5).data_page_offset  # of `split`
    content[start : start + 40] = b"\xff" * 40
    (tmp_path / "table.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"table\.parquet: row 0 or one after it: corrupt Parquet data"):
        _read(path)
