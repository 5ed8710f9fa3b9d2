"""Every kind becomes the same table, once, whatever dies, and is annotated like plain Parquet."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.errors import StorageError, UsageError
from litelvlm.pipeline.masks import EncodedMask, decode_mask
from litelvlm.pipeline.prepare.config import PrepareConfig
from litelvlm.pipeline.prepare.run import prepare
from litelvlm.pipeline.run import annotate_dataset
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeEngine
from tests.pipeline.prepare.collections import KINDS, NAMES, PHRASES, image, images, make_csv, make_parquet, true_mask
from tests.pipeline.samples import read_records, run_config

pytestmark = pytest.mark.usefixtures("local_ray")


def made(output: Path, *inputs: Path | str, **settings: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of the table that is made, and what was told."""
    lines: list[str] = []
    config = PrepareConfig(input=tuple(map(str, inputs)), output=str(output), **settings)
    prepare(config, lines.append)
    files = sorted(output.glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()], lines


def asked(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Path -> phrases."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["image"]["path"] or row["image_id"], []).extend(row["phrases"])
    return found


Masks = dict[tuple[str, str], tuple[str, str | None]]


def masks_of(source: Path, run: Path, prefix: str = "") -> Masks:
    """Name and phrase -> status and mask, of a run over a table."""
    assert annotate_dataset(run_config(str(source), run), engine=FakeEngine(), stream=io.StringIO()) == 0
    return {
        (record["file_name"].removeprefix(prefix), record["phrase"]): (record["status"], record["mask_rle"])
        for record in read_records(run)
    }


@pytest.fixture(scope="module")
def plain_masks(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Masks:
    """Those of the collection in plain Parquet."""
    root = tmp_path_factory.mktemp("plain")
    return masks_of(make_parquet(root / "in"), root / "run")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_becomes_the_same_table_and_the_same_masks(tmp_path: Path, kind: str, plain_masks: Masks) -> None:
    rows, lines = made(tmp_path / "table", KINDS[kind](tmp_path / "in"), embed_images=True)
    prefix = "images/" if kind == "yolo" else ""
    assert asked(rows) == {f"{prefix}{name}": phrases for name, phrases in zip(NAMES, PHRASES, strict=True)}
    assert {row["image"]["bytes"] for row in rows} == {image(number) for number in range(len(NAMES))}
    if kind in ("coco", "yolo"):
        for row in rows:
            for mask in row["masks"]:
                encoded = EncodedMask(size_hw=tuple(mask["size"]), counts=mask["counts"], area=0, bbox_xywh=(0,) * 4)
                assert (decode_mask(encoded) == true_mask()).all()
    assert lines[-1].startswith(f"next: python jobs/annotate.py --input {tmp_path}/table --output RUN")

    masks = masks_of(tmp_path / "table", tmp_path / "run", prefix)
    assert masks == plain_masks
    assert {name for name, _ in masks} == set(NAMES), "names survive"


def test_a_folder_of_images_is_asked_the_same_of_each(tmp_path: Path) -> None:
    folder = images(tmp_path / "photos")
    (folder / "notes.md").touch()
    (folder / ".hidden.png").touch()
    (tmp_path / "classes.txt").write_text("a dog\n\n the red box \na dog\n", encoding="utf-8-sig")
    rows, lines = made(tmp_path / "table", folder, phrases=str(tmp_path / "classes.txt"))
    assert [row["image_id"] for row in rows] == NAMES
    assert all(row["phrases"] == ["a dog", "the red box"] for row in rows)
    assert all(row["image"]["bytes"] is None for row in rows)
    assert lines[0] == f"input: 4 images below {folder}"
    assert lines[-1].endswith(f"--image-root {folder}")
    config = run_config(str(tmp_path / "table"), tmp_path / "run", image_root=str(folder))
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == 0
    assert {record["file_name"] for record in read_records(tmp_path / "run")} == set(NAMES)
    rows, lines = made(tmp_path / "silent", folder)
    assert "4 rows ask for nothing and will fail; give --phrases FILE or --ontology YAML for them" in lines


def test_a_table_without_phrases_is_asked_those_of_the_file(tmp_path: Path) -> None:
    make_csv(tmp_path / "in")
    (tmp_path / "in/list.csv").write_text("path\na.png\nz/z/100%.png\n")
    (tmp_path / "phrases.txt").write_text("a dog\n")
    rows, lines = made(tmp_path / "table", tmp_path / "in/list.csv", phrases=str(tmp_path / "phrases.txt"))
    assert [(row["image"]["path"], row["phrases"]) for row in rows] == [
        ("a.png", ["a dog"]),
        ("z/z/100%.png", ["a dog"]),
    ]
    assert "phrase" not in lines[0].replace("phrases", "")
    with pytest.raises(UsageError, match=r"list\.csv: no phrase column found"):
        made(tmp_path / "other", tmp_path / "in/list.csv")


def test_images_are_asked_the_prompts_of_an_ontology(tmp_path: Path) -> None:
    folder = images(tmp_path / "photos")
    classes = [{"name": "dog", "prompts": ["a dog", "puppy"], "negative_prompts": ["toy"]}, "box"]
    rows, lines = made(tmp_path / "table", folder, ontology=classes)
    assert all(row["phrases"] == ["a dog", "puppy", "box", "toy"] for row in rows)
    assert lines[-1].endswith(f"--image-root {folder} --ontology YAML")
    (tmp_path / "phrases.txt").write_text("a dog\n")
    with pytest.raises(UsageError, match=r"--phrases and --ontology: .* give one"):
        made(tmp_path / "both", folder, ontology=classes, phrases=str(tmp_path / "phrases.txt"))


def test_scattered_phrases_of_an_image_come_together(tmp_path: Path) -> None:
    source = make_csv(tmp_path / "in")
    lines = source.read_text(encoding="utf-8-sig").splitlines()
    source.write_text("\n".join([lines[0], *lines[:0:-1], *lines[1:]]) + "\n", encoding="utf-8")
    apart, _ = made(tmp_path / "apart", source)
    together, told = made(tmp_path / "together", source, group_images=True)
    assert len(apart) == 10
    assert len(together) == 4
    assert {row["image_id"]: row["phrases"] for row in together} == {
        f"00{number}": [*phrases[::-1], *phrases] for number, phrases in enumerate(PHRASES)
    }
    assert told[-2].startswith("done: 4 rows, 10 phrases in ")
    assert not list((tmp_path / "together/_scattered").rglob("*.parquet"))


def test_images_that_are_put_in_are_grouped_in_many_files(tmp_path: Path) -> None:
    source = make_csv(tmp_path / "my set")
    rows, told = made(tmp_path / "a table", source, group_images=True, embed_images=True)
    assert {row["image_id"]: row["image"]["bytes"] for row in rows} == {f"00{n}": image(n) for n in range(len(NAMES))}
    assert len(list((tmp_path / "a table/_done").glob("[0-9]*.json"))) == 256
    assert told[-1] == f"next: python jobs/annotate.py --input '{tmp_path}/a table' --output RUN"


@pytest.mark.parametrize("group_images", [False, True])
def test_a_table_that_was_left_half_way_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group_images: bool
) -> None:
    source = make_parquet(tmp_path / "in")
    whole, _ = made(tmp_path / "whole", source, group_images=group_images)

    def full(self: Storage, name: str, data: bytes) -> None:
        if name == "_SUCCESS" or (name.startswith("_done/") and name.endswith("1.json")):
            raise StorageError("the disk is full")
        original(self, name, data)

    original = Storage.write_bytes
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write_bytes", full)
        with pytest.raises(StorageError, match="full"):
            made(tmp_path / "table", source, group_images=group_images, limit=4)
    with pytest.raises(ValueError, match="is not finished; run its prepare job again"):
        annotate_dataset(run_config(str(tmp_path / "table"), tmp_path / "run"), engine=FakeEngine())
    rows, _ = made(tmp_path / "table", source, group_images=group_images, limit=4)
    assert rows == whole
    again, lines = made(tmp_path / "table", source, group_images=group_images, limit=4)
    assert again == whole
    assert f"{tmp_path}/table is complete: 4 rows; nothing to do" in lines


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    source = make_parquet(tmp_path / "in")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds something else, such as thesis\.txt"):
        made(tmp_path / "mine", source, overwrite=True)
    made(tmp_path / "table", source)
    (tmp_path / "table/notes.txt").touch()
    with pytest.raises(UsageError, match=r"a table of another input or setting \(rows_per_group\)"):
        made(tmp_path / "table", source, rows_per_group=2)
    with pytest.raises(UsageError, match=r"\(allow_prefixes, embed_images\)"):
        made(tmp_path / "table", source, embed_images=True, allow_prefixes=("s3://elsewhere/",))
    rows, _ = made(tmp_path / "table", source, rows_per_group=2, limit=3, overwrite=True)
    assert len(rows) == 3
    assert (tmp_path / "table/notes.txt").exists()
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


def test_an_image_that_cannot_be_read_stays_a_row(tmp_path: Path) -> None:
    source = make_csv(tmp_path / "in")
    (tmp_path / "in/a.png").unlink()
    with source.open("a") as file:
        file.write("9,/etc/passwd,a dog\n8,../../secret.png,a dog\n7,ftp://other/x.png,a dog\n")
    rows, lines = made(tmp_path / "table", source, embed_images=True)
    assert [row["image"]["path"] for row in rows if row["image"]["bytes"] is None] == [
        "a.png",
        "/etc/passwd",
        "../../secret.png",
        "ftp://other/x.png",
    ]
    assert any(line.startswith("1 images are not in the table (not_found), the first in a.png") for line in lines)
    assert any("(refused)" in line for line in lines)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "coco", "yolo", "webdataset", "datasets"])
def test_a_run_that_is_given_another_kind_says_how_to_make_a_table(tmp_path: Path, kind: str) -> None:
    source = KINDS[kind](tmp_path / "in")
    with pytest.raises(
        ValueError, match=r"and a run reads Parquet; make a table of it with: python jobs/prepare"
    ) as told:
        annotate_dataset(run_config(str(source), tmp_path / "run"), engine=FakeEngine())
    assert f"--input {source} --output TABLE" in str(told.value)
    assert not (tmp_path / "run").exists()


def test_the_claim_holds_no_secret(tmp_path: Path) -> None:
    made(tmp_path / "table", make_parquet(tmp_path / "in"), storage_options={"secret": "hunter2"})
    assert "hunter2" not in (tmp_path / "table/_prepare.json").read_text()
    assert json.loads((tmp_path / "table/_prepare.json").read_text())["kind"] == "parquet"
