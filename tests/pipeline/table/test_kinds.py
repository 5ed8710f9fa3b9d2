"""What an input is, by the names of its files."""

from __future__ import annotations

import pytest

from litelvlm.pipeline.table.kinds import KINDS, NAMES, files_of, is_yolo_description, kind_of


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["d/a.jpg", "d/b.PNG", "d/readme.md"], "images"),
        (["d/a.jpg", "d/list.csv"], "csv"),
        (["d/list.tsv.gz"], "tsv"),
        (["d/a.jpg", "d/list.jsonl"], "jsonl"),
        (["d/train.ndjson"], "jsonl"),
        (["d/val/a.jpg", "d/instances.json"], "coco"),
        (["d/images/a.jpg", "d/labels/a.txt", "d/data.yaml"], "yolo"),
        (["d/images/train/a.jpg", "d/labels/train/sub/a.txt"], "yolo"),
        (["d/shard-000.tar", "d/shard-001.tar"], "webdataset"),
        (["d/data-00000-of-00001.arrow", "d/state.json", "d/dataset_info.json"], "datasets"),
        (["d/dataset_dict.json", "d/train/data-00000-of-00001.arrow"], "datasets"),
        (["d/part-0.parquet", "d/_SUCCESS"], "parquet"),
        (["d/part-0.parquet", "d/_delta_log/00000000000000000000.json"], "delta"),
        (["d/data/x.lance", "d/_versions/1.manifest"], "lance"),
        (["d/data/x.parquet", "d/metadata/00001-2f.metadata.json"], "iceberg"),
        (["d/data/x.parquet", "d/metadata/v3.metadata.json"], "iceberg"),
        (["d/a.arrow"], None),
        (["d/.hidden.jpg", "d/_SUCCESS"], None),
        (["d/a.docx"], None),
        ([], None),
    ],
)
def test_the_kind_of_an_input(names: list[str], kind: str | None) -> None:
    assert kind_of(names) == kind
    assert kind_of(names[::-1]) == kind


def test_the_files_of_a_kind() -> None:
    names = ["d/.x.jpg", "d/a.jpg", "d/a.txt", "d/b.jfif", "d/c.csv", "d/e.parq"]
    assert files_of("images", names) == ["d/a.jpg", "d/b.jfif"]
    assert files_of("yolo", names) == ["d/a.jpg", "d/b.jfif"]
    assert files_of("csv", names) == ["d/c.csv"]
    assert files_of("parquet", names) == ["d/e.parq"]
    assert files_of("delta", names) == []


def test_every_kind_has_its_words() -> None:
    assert set(NAMES) == set(KINDS)
    assert is_yolo_description("d/data.yaml")
    assert is_yolo_description("classes.txt")
    assert not is_yolo_description("d/metadata.yaml")
