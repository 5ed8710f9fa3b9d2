"""Rows of one image become one image, over all files, wherever they stand."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.evaluation.datasets.hub_tables import read_hub_tables
from litelvlm.evaluation.datasets.joining import ScatteredRows, joined
from litelvlm.evaluation.datasets.truth import Expression, TrueImage
from litelvlm.pipeline.masks import encode_mask
from tests.evaluation.datasets.refer_files import picture, true_mask

SCHEMA = pa.schema([("id", pa.string()), ("image", pa.binary()), ("text", pa.string()), ("mask", pa.string())])


def _row(name: Any, text: Any, picture_of: Any = 7) -> Any:
    file = io.BytesIO()
    picture(picture_of).save(file, "png")
    ann_id = {7: 101, 9: 103}[picture_of]
    mask = encode_mask(true_mask(ann_id, image_id=picture_of)).counts
    return {"id": name, "image": file.getvalue(), "text": text, "mask": mask}


def _read(tmp_path: Path, *files: Any, **options: Any) -> Any:
    paths = []
    for number, rows in enumerate(files):
        paths.append(str(tmp_path / f"part-{number}.parquet"))
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), paths[-1])
    return [
        (image.image_id, [(item.text, item.sentence_id) for item in image.expressions])
        for image in read_hub_tables(paths, {}, mask_column="mask", **options)
    ]


def test_an_image_split_over_files_is_one(tmp_path: Path) -> None:
    files = [_row("i1", "a"), _row("i1", "b")], [_row("i1", "c"), _row("i2", "d")], [_row("i2", "e")]
    assert _read(tmp_path, *files) == [
        ("i1", [("a", "0/0"), ("b", "1/0"), ("c", "2/0")]),
        ("i2", [("d", "3/0"), ("e", "4/0")]),
    ]


def test_rows_of_an_image_that_are_no_neighbours_are_noticed_and_brought_together(tmp_path: Path) -> None:
    files = [_row("i1", "a")], [_row("i1", "b"), _row("i2", "c"), _row("i1", "d"), _row("i1", "e", 9)]
    with pytest.raises(ScatteredRows, match=r"part-1\.parquet: row 2: image 'i1' again"):
        _read(tmp_path, *files)
    assert _read(tmp_path, *files, scattered=True) == [
        ("i1", [("a", "0/0"), ("b", "1/0"), ("d", "3/0")]),
        ("i2", [("c", "2/0")]),
        ("i1", [("e", "4/0")]),  # of other bytes
    ]


def test_the_same_id_with_other_bytes_is_another_image(tmp_path: Path) -> None:
    read = _read(tmp_path, [_row("i1", "a"), _row("i1", "b", 9), _row("i2", "c")])
    assert [name for name, _ in read] == ["i1", "i1", "i2"]


def _image(**facts: Any) -> Any:
    given = {"image_id": "7", "path": "7.jpg", "data": None, "split": "val"} | facts
    return TrueImage(expressions=(Expression(text="a", mask=None),), **given)


@pytest.mark.parametrize("other", [{"split": "testA"}, {"path": "8.jpg"}, {"data": b"7.jpg"}, {"image_id": "8"}])
def test_what_tells_images_apart(other: Any) -> None:
    images = [_image(), _image(**other), _image(**other)]
    assert [len(image.expressions) for image in joined(("row", image) for image in images)] == [1, 2]
    with pytest.raises(ValueError, match="image '7' again"):
        list(joined(("row", image) for image in (*images, _image())))
