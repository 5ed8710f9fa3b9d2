"""What an ontology makes of a run: told before it begins, and in its outputs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.dry_run import describe_run
from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.masks import EncodedMask, mask_iou
from litelvlm.pipeline.ontology import parse_ontology
from litelvlm.pipeline.ontology_run import check_ontology
from litelvlm.pipeline.run import annotate_dataset
from litelvlm.pipeline.shards.manifest import make_plan
from litelvlm.pipeline.stages.choose_engine import choose_engine
from tests.fakes import BAD_PHRASE, FakeEngine
from tests.pipeline.samples import final_bytes, read_coco, read_records, row, run_config, write_table

#: The fake model looks at one of three channels, by the length of the phrase: prompts of a class that are equally long
#: find the same object.
CLASSES = {
    "categories": [
        {"id": 5, "name": "box", "supercategory": "thing", "prompts": ["a box", "boxes"], "negative_prompts": ["none"]},
        {"id": 2, "name": "ball", "prompts": ["the ball"]},
        {"id": 9, "name": "bag", "prompts": ["bags"], "score_threshold": 1.0},
    ]
}


def config_of(tmp_path: Path, rows: list[dict[str, Any]], **settings: Any) -> RunConfig:
    source = write_table(tmp_path / "in.parquet", rows)
    return run_config(source, tmp_path / "out", ontology=CLASSES, **settings)


def images(count: int) -> list[dict[str, Any]]:
    """Rows without phrases."""
    return [{name: value for name, value in row(number).items() if name != "phrases"} for number in range(count)]


def remarks(config: RunConfig, engine: Any = None) -> list[str]:
    engine = engine or FakeEngine()
    return check_ontology(config, make_plan(config, revision="r"), engine)


def test_what_is_asked_of_how_many_images_is_told(tmp_path: Path) -> None:
    (line,) = remarks(config_of(tmp_path, images(20)))
    assert line.startswith("ontology: 3 classes with 5 prompts (")
    assert line.endswith("; 20 images are asked 5 each: 100 answers")
    assert remarks(run_config(write_table(tmp_path / "p.parquet", [row(0)]), tmp_path / "out")) == []


def test_of_a_table_with_phrases_it_is_told_what_becomes_of_others(tmp_path: Path) -> None:
    (line,) = remarks(config_of(tmp_path, [row(0)]))
    assert line.endswith("; phrases of phrases are mapped to them, and fail where none fits")


def test_the_operations_are_told_and_a_layout_that_takes_far_fewer(tmp_path: Path) -> None:
    config = config_of(tmp_path, images(20))
    engine = choose_engine(config)
    mine, shared = (engine.tflop_an_image(["a"] * 40, layout) for layout in ("separate", "shared"))
    assert mine is not None
    assert shared is not None
    assert shared < mine / 2
    (line,) = remarks(config, engine)
    assert "Needed operations (modelled): " in line
    assert " TFLOP; with --layout shared " in line
    assert "TFLOP" in describe_run(config)
    config = config_of(tmp_path, images(20), layout="shared")
    (line,) = remarks(config, choose_engine(config))
    assert "TFLOP" in line
    assert "--layout" not in line


def test_a_prompt_that_the_model_cannot_be_asked_is_refused_by_name(tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", images(1))
    config = run_config(source, tmp_path / "out", ontology=["dog", {"name": "cat", "prompts": [BAD_PHRASE]}])
    with pytest.raises(ValueError, match=f"--ontology: class 'cat': the prompt '{BAD_PHRASE}': phrase: has no answer"):
        remarks(config)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    """The output of a run over images alone, one of them broken."""
    root = tmp_path_factory.mktemp("asked")
    rows = images(20)
    rows[3]["image"] = b"<html>"
    assert annotate_dataset(config_of(root, rows), engine=FakeEngine(), stream=io.StringIO()) == 0
    return root / "out"


def test_every_image_is_asked_every_prompt(asked: Path) -> None:
    records = read_records(asked)
    prompts = parse_ontology(CLASSES).prompts
    assert [(one["source_row"], one["phrase"]) for one in records] == [
        (number, phrase) for number in range(20) for phrase in prompts
    ]
    assert {one["status"] for one in records if one["source_row"] == 3} == {"failed"}
    assert [one["category"] for one in records[:5]] == ["box", "box", "ball", "bag", "box"]
    assert [one["category_id"] for one in records[:5]] == [5, 5, 2, 9, 5]


def test_one_object_of_a_class_is_one_annotation_and_the_others_are_told(asked: Path) -> None:
    first = read_records(asked)[:5]
    reasons = [one["dropped"] for one in first]
    best = max(first[:2], key=lambda one: one["score"])["phrase"]
    dropped = next(at for at in (0, 1) if first[at]["phrase"] != best)
    assert reasons[dropped] == f"duplicate: of what {best!r} found, IoU 1.00"
    assert (reasons[1 - dropped], reasons[2]) == (None, None)
    assert reasons[3].startswith("score: ")
    assert reasons[4] == "negative: asked for what box is not"
    assert {one["status"] for one in first} == {"ok", "dropped"}
    assert all(one["mask_rle"] for one in first)


def test_the_classes_are_those_of_the_coco_file_and_of_cvat(asked: Path) -> None:
    coco, records = read_coco(asked), read_records(asked)
    assert coco["categories"] == [
        {"id": 5, "name": "box", "supercategory": "thing"},
        {"id": 2, "name": "ball", "supercategory": ""},
        {"id": 9, "name": "bag", "supercategory": ""},
    ]
    found = [(one["category_id"], one["attributes"]["phrase"]) for one in coco["annotations"]]
    assert found == [(one["category_id"], one["phrase"]) for one in records if one["status"] == "ok"]
    assert {one for one, _ in found} == {5, 2}
    labels = json.loads((asked / "cvat_labels.json").read_text())
    assert [one["name"] for one in labels] == ["box", "ball", "bag"]
    assert len({one["color"] for one in labels}) == 3


def test_the_run_counts_what_was_dropped(asked: Path) -> None:
    records = read_records(asked)
    counts = json.loads((asked / "run.json").read_text())["counts"]
    assert counts["dropped"] == sum(one["status"] == "dropped" for one in records) > 0
    assert counts["records"] == len(records)
    assert "dropped" in (asked / "report.html").read_text()


def test_a_table_with_the_prompts_as_phrases_says_the_same(tmp_path: Path, asked: Path) -> None:
    prompts = parse_ontology(CLASSES).prompts
    rows = [row(number, *prompts) for number in range(20)]
    rows[3]["image"] = b"<html>"
    assert annotate_dataset(config_of(tmp_path, rows), engine=FakeEngine(), stream=io.StringIO()) == 0
    assert [read_records(tmp_path / "out"), read_coco(tmp_path / "out")] == [
        [one | {"source_file": str(tmp_path / "in.parquet")} for one in read_records(asked)],
        read_coco(asked),
    ]


def test_phrases_are_mapped_or_fail_and_nothing_is_doubled(tmp_path: Path, local_ray: None) -> None:
    rows = [row(0, "Boxes!", "the zebra", "ball"), row(1, "a box")]
    config = config_of(tmp_path, rows)
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == 0
    found = [(one["phrase"], one["status"], one["category"], one["error"]) for one in read_records(tmp_path / "out")]
    strange = "phrase: is of no class of the ontology; make it a prompt of one, or name a default"
    assert found == [
        ("Boxes!", "ok", "box", None),
        ("the zebra", "failed", None, strange),
        ("ball", "ok", "ball", None),
        ("a box", "ok", "box", None),
    ]
    before = final_bytes(tmp_path / "out")
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == 0
    assert final_bytes(tmp_path / "out") == before
    changed = run_config(str(tmp_path / "in.parquet"), tmp_path / "out", ontology=["box"])
    with pytest.raises(UsageError, match=r"ontology was '3 classes with 5 prompts \(.*\)' and is now '1 classes"):
        annotate_dataset(changed, engine=FakeEngine(), stream=io.StringIO())


def test_a_default_takes_what_fits_nowhere_and_is_asked_as_it_is_written(tmp_path: Path, local_ray: None) -> None:
    source = write_table(tmp_path / "in.parquet", [row(0, "the zebra")])
    config = run_config(source, tmp_path / "out", ontology={"categories": ["box", "thing"], "default": "thing"})
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == 0
    (found,) = read_records(tmp_path / "out")
    assert (found["phrase"], found["category"], found["status"]) == ("the zebra", "thing", "ok")
    mask = EncodedMask(size_hw=(24, 32), counts=found["mask_rle"], area=found["area"], bbox_xywh=(0, 0, 0, 0))
    assert mask_iou(mask, mask) == 1.0
