"""Records that the model rejects go through a review: nothing to see, to be confirmed or drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.export.config import FORMATS, ExportConfig
from litelvlm.pipeline.export.run import export
from litelvlm.pipeline.masks import encode_mask
from litelvlm.pipeline.review.accept import accept
from litelvlm.pipeline.review.config import AcceptConfig, IngestConfig, ReviewExportConfig
from litelvlm.pipeline.review.export import export_review
from litelvlm.pipeline.review.ingest import ingest
from litelvlm.pipeline.review.readers.brush import encode_brush
from tests.fakes import ABSENT_PHRASE, EMPTY_PHRASE
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.review.conftest import queue_of
from tests.pipeline.review.test_export import TOOLS, _accept_predictions
from tests.pipeline.samples import read_coco, read_records, row

OTHER_ABSENT = f"{ABSENT_PHRASE} as that"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images: all have something absent, the last nothing else."""
    root = tmp_path_factory.mktemp("absent-run")
    rows = [row(number, "the red box", ABSENT_PHRASE, OTHER_ABSENT) for number in range(4)]
    rows += [row(4, "a dog", ABSENT_PHRASE, EMPTY_PHRASE), row(5, ABSENT_PHRASE)]
    make_output(root, rows)
    return root / "out"


def _keys(run: Path, status: str = "absent") -> list[str]:
    return [one["record"] for one in read_records(run) if one["status"] == status]


def test_they_have_no_mask_and_are_in_coco_without_an_annotation(run: Path) -> None:
    absent = [one for one in read_records(run) if one["status"] == "absent"]
    assert len(absent) == 10
    assert {(one["mask_rle"], one["score"], one["absent_probability"]) for one in absent} == {(None, None, 0.875)}
    coco = read_coco(run)
    assert len(coco["images"]) == 6
    annotated = {one["attributes"]["record"] for one in coco["annotations"]}
    assert annotated == set(_keys(run, "ok"))


@pytest.mark.parametrize("to", FORMATS)
def test_no_other_format_has_an_object_of_them(run: Path, tmp_path: Path, to: str) -> None:
    counts = export(ExportConfig(run=str(run), to=to, output=str(tmp_path / "out")), lambda line: None)
    assert (counts["images"], counts["objects"]) == (6, len(_keys(run, "ok")))


def test_a_queue_has_them_the_surer_the_model_the_later(run: Path, tmp_path: Path) -> None:
    items = queue_of(run, tmp_path / "q.parquet", budget=100, random_share=0.0).items.to_pylist()
    risks = {one["status"]: one["risk"] for one in items}
    assert risks["absent"] == pytest.approx(0.125)
    assert risks["empty"] == pytest.approx(0.875)
    assert sum(one["status"] == "absent" for one in items) == 10
    assert "absent, targeted" in (tmp_path / "q.html").read_text()


def _export(run: Path, output: Path, to: str) -> None:
    export_review(ReviewExportConfig(run=str(run), to=to, output=str(output)), lambda line: None)


def _ingest(run: Path, source: Path, output: Path) -> list[Row]:
    return ingest(IngestConfig(run=str(run), sources=(str(source),), output=str(output)), lambda line: None)


@pytest.mark.parametrize("to", TOOLS)
def test_there_and_back_they_are_as_they_were(run: Path, tmp_path: Path, to: str) -> None:
    _export(run, tmp_path / "out", to)
    if to == "label-studio":
        _accept_predictions(tmp_path / "out/tasks.json")
    edits = {one["record"]: one for one in _ingest(run, tmp_path / "out", tmp_path / "reviewed")}
    assert {one["verdict"] for one in edits.values()} == {"unchanged"}
    found = [edits[key] for key in _keys(run) if key in edits]
    assert all(one["mask_rle"] is None and one["iou"] == 1.0 for one in found)
    assert len(found) == (10 if to == "label-studio" else 0)  # what comes back of the other tools is masks alone


def test_what_is_drawn_in_another_tool_is_the_record_of_its_phrase(run: Path, tmp_path: Path) -> None:
    content = read_coco(run)
    drawn = dict(content["annotations"][0], id=1_000, attributes={"phrase": OTHER_ABSENT})
    content["annotations"].append(drawn)
    (tmp_path / "back.json").write_text(json.dumps(content))
    edits = {one["record"]: one["verdict"] for one in _ingest(run, tmp_path / "back.json", tmp_path / "reviewed")}
    assert edits[read_records(run)[2]["record"]] == "added"
    assert set(edits) == {*_keys(run, "ok"), read_records(run)[2]["record"]}


@pytest.fixture
def reviewed(run: Path, tmp_path: Path) -> tuple[dict[str, Row], np.ndarray]:
    """What came of a review in Label Studio: in image 0 an absent phrase is ticked and another one drawn, in image 1 a
    mask is ticked as absent; and the mask that was drawn."""
    _export(run, tmp_path / "tasks", "label-studio")
    _accept_predictions(tmp_path / "tasks/tasks.json")
    tasks = json.loads((tmp_path / "tasks/tasks.json").read_text())
    data, result = tasks[0]["data"], tasks[0]["annotations"][0]["result"]
    assert [one["value"] for one in data["asked"]] == [
        "the red box", f"{ABSENT_PHRASE} – no mask: absent", f"{OTHER_ABSENT} – no mask: absent",
    ]  # fmt: skip
    mask = np.zeros((data["height"], data["width"]), bool)
    mask[3:9, 4:12] = True
    brush = result[0]
    value = brush["value"] | {"rle": encode_brush(mask), "brushlabels": [OTHER_ABSENT]}
    result.append(brush | {"id": "drawn-by-hand", "value": value})
    result.append(_ticked(f"{ABSENT_PHRASE} – no mask: absent"))
    tasks[1]["annotations"][0]["result"] = [_ticked("the red box")]
    (tmp_path / "back.json").write_text(json.dumps(tasks[:2]))
    edits = _ingest(run, tmp_path / "back.json", tmp_path / "reviewed")
    return {one["record"]: one for one in edits}, mask


def _ticked(choice: str) -> Row:
    return {
        "id": "absent", "from_name": "absent", "to_name": "image", "type": "choices", "value": {"choices": [choice]},
    }  # fmt: skip


def test_a_reviewer_confirms_or_draws(run: Path, reviewed: tuple[dict[str, Row], np.ndarray]) -> None:
    edits, mask = reviewed
    kept, confirmed, drawn, gone = (edits[one["record"]] for one in read_records(run)[:4])
    assert [one["verdict"] for one in (kept, confirmed, drawn, gone)] == ["unchanged", "absent", "added", "absent"]
    assert (confirmed["mask_rle"], confirmed["iou"], gone["iou"]) == (None, 1.0, 0.0)
    assert drawn["mask_rle"] == encode_mask(mask).counts


def test_labels_say_what_the_reviewer_said(
    run: Path, reviewed: tuple[dict[str, Row], np.ndarray], tmp_path: Path
) -> None:
    queue_of(run, tmp_path / "q.parquet", budget=100, random_share=1.0)
    config = AcceptConfig(
        run=str(run), reviewed=(str(tmp_path / "reviewed"),), queue=str(tmp_path / "q.parquet"),
        output=str(tmp_path / "accepted"),
    )  # fmt: skip
    certificate = accept(config, lambda line: None)
    assert (certificate["num_masks"], certificate["sample"]["num_sampled"]) == (5, 5)  # a bound is of masks
    labels = pq.read_table(tmp_path / "accepted/records/part-00000.parquet").to_pylist()
    told = [(one["review"], one["status"]) for one in labels]
    assert told[:6] == [
        ("reviewed", "ok"), ("reviewed", "absent"), ("reviewed", "ok"),
        ("reviewed", "absent"), ("reviewed", "absent"), ("reviewed", "absent"),
    ]  # fmt: skip
    assert {one["review"] for one in labels if one["status"] == "absent"} == {"reviewed", "open"}
    coco = json.loads((tmp_path / "accepted/annotations/part-00000.json").read_text())
    annotated = [one["attributes"]["record"] for one in coco["annotations"]]
    assert annotated == [labels[0]["record"], labels[2]["record"]]
    assert len(coco["images"]) == 2
