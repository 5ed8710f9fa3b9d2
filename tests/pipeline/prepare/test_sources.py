"""From `--input` to pieces: kinds, roots, columns, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.prepare.config import PrepareConfig
from litelvlm.pipeline.prepare.pieces import Notes, Source
from litelvlm.pipeline.prepare.sources import open_source
from tests.pipeline.prepare.collections import KINDS, NAMES, append_rows, images, make_csv, make_yolo


def opened(*inputs: Path | str, **settings: Any) -> Source:
    config = PrepareConfig(input=tuple(map(str, inputs)), output="/nonexistent/table", **settings)
    return open_source(config)


@pytest.mark.parametrize(
    ("kind", "describe"),
    [
        ("csv", "CSV: 1 files, image=image_path (uri), phrase=phrase, id=image_id"),
        ("tsv", "TSV: 1 files, image=image_path (uri), phrase=phrase, id=image_id"),
        ("jsonl", "JSON lines: 1 files, image=image (uri), phrase=phrases, id=id"),
        ("coco", "COCO json: 4 images, with masks"),
        ("yolo", "a YOLO data set: 4 images, 3 classes"),
        ("webdataset", "WebDataset tars: 1 files"),
        ("parquet", "Parquet: 2 files, image=image (struct), phrase=phrases, id=image_id"),
        ("delta", "a Delta table: 1 files, image=image (struct), phrase=phrases, id=image_id"),
        ("lance", "a Lance table: 1 files, image=image (struct), phrase=phrases, id=image_id"),
        pytest.param(
            "iceberg",
            "an Iceberg table: 1 files, image=image (struct), phrase=phrases, id=image_id",
            marks=pytest.mark.slow,  # pyiceberg is imported
        ),
        ("datasets", "a Hugging Face data set on disk: 2 files, image=image (struct), phrase=phrases, id=image_id"),
    ],
)
def test_the_kind_is_told_by_the_files(tmp_path: Path, kind: str, describe: str) -> None:
    source = opened(KINDS[kind](tmp_path))
    assert (source.kind, source.describe) == (kind, describe)
    assert source.has_masks == (kind in ("coco", "yolo"))
    assert sum(1 for piece in source.pieces for _ in piece.rows(Notes())) >= len(NAMES)


def test_paths_start_from_the_folder_of_the_file_that_names_them(tmp_path: Path) -> None:
    source = make_csv(tmp_path / "in")
    assert opened(source).image_root == str(tmp_path / "in")
    assert opened(source, image_root="s3://bucket/images").image_root == "s3://bucket/images"


def test_the_root_of_images_is_what_was_given_together(tmp_path: Path) -> None:
    root = images(tmp_path / "set")
    assert opened(root).image_root == str(root)
    assert opened(root / "z", root / "sub dir").image_root == str(root)
    assert opened(root / "a.png").image_root == str(root)
    assert opened(f"{root}/*/*.png").image_root == str(root)
    with pytest.raises(ValueError, match=r"--image-root /elsewhere: .*a\.png lies elsewhere"):
        opened(root, image_root="/elsewhere")


def test_a_kind_can_be_named(tmp_path: Path) -> None:
    make_csv(tmp_path / "in")
    assert opened(tmp_path / "in").kind == "csv"
    named = opened(tmp_path / "in", kind="images")
    assert named.describe == f"4 images below {tmp_path}/in"
    with pytest.raises(ValueError, match="no file of WebDataset tars in it"):
        opened(tmp_path / "in", kind="webdataset")


def test_what_is_of_no_kind_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.docx").touch()
    with pytest.raises(ValueError, match="1 files, of no kind that is known; name it with --kind"):
        opened(tmp_path)
    with pytest.raises(ValueError, match=r"--input .*gone: nothing there"):
        opened(tmp_path / "gone")


def test_a_yolo_data_set_without_names_of_classes_is_refused(tmp_path: Path) -> None:
    make_yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(ValueError, match=r"no data\.yaml and no classes\.txt names the classes"):
        opened(tmp_path)


def test_files_of_a_table_are_one_schema(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"x"], "phrase": ["p"]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"image": [b"x"], "phrase": pa.nulls(1)}), tmp_path / "1.parquet")
    source = opened(tmp_path)
    assert [row.phrases for piece in source.pieces for row in piece.rows(Notes())] == [("p",), ()]
    pq.write_table(pa.table({"other": [1]}), tmp_path / "2.parquet")
    with pytest.raises(ValueError, match=r"2\.parquet: no image column found"):
        opened(tmp_path)


def test_columns_can_be_named_and_ids_left_out(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,left,right,text\n1,a.png,b.png,p\n")
    source = opened(tmp_path, image_column="right", phrase_column="text", id_column="")
    assert [(row.image_id, row.path) for piece in source.pieces for row in piece.rows(Notes())] == [(None, "b.png")]


@pytest.mark.parametrize("kind", ["delta", "lance", "iceberg"])
def test_a_table_with_a_log_is_read_as_it_was_found(tmp_path: Path, kind: str) -> None:
    path = KINDS[kind](tmp_path)
    [piece] = opened(path).pieces
    before = [row.image_id for row in piece.rows(Notes())]
    append_rows(kind, path)
    assert [row.image_id for row in piece.rows(Notes())] == before
    [newer] = opened(path).pieces
    assert len(list(newer.rows(Notes()))) == 2 * len(before)
    assert newer.identity != piece.identity
