"""From the published files to one table, by the command."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image

from litelvlm.demo.truth import main as write_scenes
from litelvlm.evaluation.records import TRUTH_SCHEMA
from litelvlm.jobs.ground_truth import main
from tests.evaluation.datasets.refer_files import (
    file_name,
    picture,
    read_truth,
    write_grefcoco,
    write_images,
    write_refcoco,
)


def test_refcoco_with_its_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_refcoco(tmp_path / "data")
    write_images(tmp_path / "train2014")
    target = tmp_path / "val.parquet"
    flags = ["refer", "--root", str(tmp_path / "data"), "--dataset", "refcoco", "--split", "val"]
    assert main([*flags, "--output", str(target), "--embed-images", str(tmp_path / "train2014")]) == 0
    assert capsys.readouterr().out == f"{target}: 1 images with 3 expressions\n"
    [row] = read_truth(target)
    assert row["image"]["bytes"] == (tmp_path / "train2014" / "COCO_train2014_000000000007.jpg").read_bytes()
    assert row["phrases"] == ["man left", "the guy in red", "dog"]


def test_its_own_output_is_a_table_with_a_mask_column(tmp_path: Path) -> None:
    write_grefcoco(tmp_path / "data")
    write_images(tmp_path / "train2014")
    first, second = str(tmp_path / "first.parquet"), str(tmp_path / "second.parquet")
    flags = ["--root", str(tmp_path / "data"), "--dataset", "grefcoco", "--split", "val", "--output", first]
    assert main(["refer", *flags, "--embed-images", str(tmp_path / "train2014")]) == 0
    assert main(["table", "--input", first, "--mask-column", "masks", "--output", second]) == 0
    rows = [read_truth(path)[0] for path in (first, second)]
    for name in ("phrases", "masks", "sentence_ids", "kinds", "split"):
        assert rows[0][name] == rows[1][name]
    assert rows[0]["split"] == "val"
    assert rows[0]["image"]["bytes"] == rows[1]["image"]["bytes"]


@pytest.mark.slow
def test_scattered_rows_are_brought_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn, torn = str(tmp_path / "drawn.parquet"), str(tmp_path / "torn.parquet")
    assert write_scenes(["--scenes", "5", "--output", drawn]) == 0
    lists = ("phrases", "masks", "sentence_ids", "kinds")
    rows = [
        row | {name: row[name][index : index + 1] for name in lists}
        for index in range(4)
        for row in read_truth(drawn)
        if index < len(row["phrases"])
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=TRUTH_SCHEMA), torn, row_group_size=3)
    output = str(tmp_path / "whole.parquet")
    assert main(["table", "--input", torn, "--mask-column", "masks", "--output", output]) == 0
    assert "again, after rows of other images; reading everything twice" in capsys.readouterr().err
    found, expected = read_truth(output), read_truth(drawn)
    for row in (*found, *expected):
        del row["image"]["path"]  # of embedded images nobody asks for it
    assert found == expected


def test_an_input_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_grefcoco(tmp_path / "data")
    write_images(tmp_path / "train2014")
    monkeypatch.chdir(tmp_path)
    flags = ["--root", "data", "--dataset", "grefcoco", "--split", "val", "--embed-images", "train2014"]
    assert main(["refer", *flags, "--output", "first.parquet"]) == 0
    content = (tmp_path / "first.parquet").read_bytes()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("first.parquet", str(tmp_path / "first.parquet"), "link/first.parquet"):
        assert main(["table", "--input", "*.parquet", "--mask-column", "masks", "--output", name]) == 2
        assert "is one of the files of --input" in capsys.readouterr().err
    assert (tmp_path / "first.parquet").read_bytes() == content


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--split", "testA", "--output", "x"], "must name a .parquet file"),
        (["--split", "test", "--output", "x.parquet"], "none of refcoco's"),
        (["--split", "val", "--output", "{tmp}/x.parquet", "--embed-images", "{tmp}/nowhere"], "image 7: not_found"),
    ],
)
def test_mistakes_are_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: Any, reason: str
) -> None:
    write_refcoco(tmp_path)
    flags = [flag.replace("{tmp}", str(tmp_path)) for flag in flags]
    assert main(["refer", "--root", str(tmp_path), "--dataset", "refcoco", *flags]) == 2
    message = capsys.readouterr().err
    assert reason in message
    assert message.count("\n") == 1
    assert not list(tmp_path.glob("*.parquet*"))


def test_originals_in_a_bucket_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--dataset", "refcoco", "--split", "val", "--output", str(tmp_path / "x.parquet")]
    assert main(["refer", "--root", "s3://bucket/data", *flags]) == 2
    assert "--root s3://bucket/data: the original files must lie on this machine" in capsys.readouterr().err


def _embed(tmp_path: Path, picture_of_7: Any, **saved: Any) -> Any:
    write_refcoco(tmp_path / "data")
    (tmp_path / "train2014").mkdir()
    picture_of_7.save(tmp_path / "train2014" / file_name(7), "jpeg", **saved)
    flags = ["refer", "--root", str(tmp_path / "data"), "--dataset", "refcoco", "--split", "val"]
    return main([*flags, "--output", str(tmp_path / "x.parquet"), "--embed-images", str(tmp_path / "train2014")])


def test_images_with_a_rotation_tag_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tag = Image.Exif()
    tag[ExifTags.Base.Orientation] = 6
    stored = picture(7).transpose(Image.Transpose.ROTATE_90)
    assert _embed(tmp_path, stored, exif=tag) == 0
    assert "\n1 images carry an EXIF rotation and were read upright\n" in capsys.readouterr().out
