"""From the published files to one table, by the command."""

import pytest

from evaluation.truth import read_truth
from jobs.ground_truth import main
from tests.evaluation.refer_files import write_grefcoco, write_images, write_refcoco


def test_refcoco_with_its_images(tmp_path, capsys):
    write_refcoco(tmp_path / "data")
    write_images(tmp_path / "train2014")
    target = tmp_path / "val.parquet"
    flags = ["refer", "--root", str(tmp_path / "data"), "--dataset", "refcoco", "--split", "val"]
    assert main([*flags, "--output", str(target), "--embed-images", str(tmp_path / "train2014")]) == 0
    assert capsys.readouterr().out == f"{target}: 1 images with 3 expressions\n"
    [row] = read_truth(str(target))
    assert row["image"]["bytes"] == (tmp_path / "train2014" / "COCO_train2014_000000000007.jpg").read_bytes()
    assert row["phrases"] == ["man left", "the guy in red", "dog"]


def test_its_own_output_is_a_table_with_a_mask_column(tmp_path):
    write_grefcoco(tmp_path / "data")
    write_images(tmp_path / "train2014")
    first, second = str(tmp_path / "first.parquet"), str(tmp_path / "second.parquet")
    flags = ["--root", str(tmp_path / "data"), "--dataset", "grefcoco", "--split", "val", "--output", first]
    assert main(["refer", *flags, "--embed-images", str(tmp_path / "train2014")]) == 0
    assert main(["table", "--input", first, "--mask-column", "masks", "--output", second]) == 0
    rows = [next(iter(read_truth(path))) for path in (first, second)]
    assert rows[0]["masks"] == rows[1]["masks"]
    assert rows[0]["image"]["bytes"] == rows[1]["image"]["bytes"]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--split", "testA", "--output", "x"], "must name a .parquet file"),
        (["--split", "test", "--output", "x.parquet"], "none of refcoco's"),
        (["--split", "val", "--output", "{tmp}/x.parquet", "--embed-images", "{tmp}/nowhere"], "image 7: not_found"),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path, capsys, flags, reason):
    write_refcoco(tmp_path)
    flags = [flag.replace("{tmp}", str(tmp_path)) for flag in flags]
    assert main(["refer", "--root", str(tmp_path), "--dataset", "refcoco", *flags]) == 2
    message = capsys.readouterr().err
    assert reason in message
    assert message.count("\n") == 1
    assert not list(tmp_path.glob("*.parquet*"))


def test_image_names_cannot_leave_the_root(tmp_path, capsys):
    directory = write_refcoco(tmp_path / "data")
    (tmp_path / "train2014").mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    instances = directory / "instances.json"
    instances.write_text(instances.read_text().replace("COCO_train2014_000000000007.jpg", "../secret.jpg"))
    flags = ["refer", "--root", str(tmp_path / "data"), "--dataset", "refcoco", "--split", "val"]
    target = str(tmp_path / "x.parquet")
    assert main([*flags, "--output", target, "--embed-images", str(tmp_path / "train2014")]) == 2
    assert "image 7: refused" in capsys.readouterr().err
