"""Out to every tool and back: what nobody touched is pixel-equal."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.review.config import IngestConfig, ReviewExportConfig
from litelvlm.pipeline.review.export import export_review
from litelvlm.pipeline.review.ingest import ingest
from tests.pipeline.review.conftest import queue_of
from tests.pipeline.samples import read_records

TOOLS = ("label-studio", "cvat", "fiftyone", "coco", "datumaro")


def _export(run: Path, output: Path, to: str, **settings: Any) -> Counter[str]:
    return export_review(ReviewExportConfig(run=str(run), to=to, output=str(output), **settings), print)


def _ingest(run: Path, source: Path, output: Path) -> list[dict[str, Any]]:
    return ingest(IngestConfig(run=str(run), sources=(str(source),), output=str(output)), print)


@pytest.mark.slow
@pytest.mark.parametrize("to", TOOLS)
def test_a_queue_comes_back_as_it_went(run: Path, tmp_path: Path, to: str) -> None:
    queue = queue_of(run, tmp_path / "q.parquet", budget=15)
    counts = _export(run, tmp_path / "out", to, queue=str(tmp_path / "q.parquet"))
    wanted = set(queue.items.column("record").to_pylist())
    assert counts["objects"] + counts["unmasked"] >= len(wanted)
    if to == "label-studio":
        _accept_predictions(tmp_path / "out/tasks.json")
    edits = _ingest(run, tmp_path / "out", tmp_path / "reviewed")
    masks = {one["record"]: one["mask_rle"] for one in read_records(run)}
    found = {one["record"]: one for one in edits}
    queued = {one["record"] for one in queue.items.to_pylist() if one["status"] == "ok"}
    assert queued <= set(found)
    assert {found[key]["verdict"] for key in queued} == {"unchanged"}
    assert all(found[key]["mask_rle"] == masks[key] for key in queued)
    assert to != "label-studio" or set(found) == wanted


def _accept_predictions(path: Path) -> None:
    """As a reviewer does who submits every task as it is shown."""
    tasks = json.loads(path.read_text())
    for number, task in enumerate(tasks):
        task["annotations"] = [{"id": number, "result": task.pop("predictions")[0]["result"], "lead_time": 4.0}]
    path.write_text(json.dumps(tasks))


def test_label_studio_tasks_follow_the_queue(run: Path, tmp_path: Path) -> None:
    queue = queue_of(run, tmp_path / "q.parquet", budget=15)
    _export(run, tmp_path / "out", "label-studio", queue=str(tmp_path / "q.parquet"))
    tasks = json.loads((tmp_path / "out/tasks.json").read_text())
    names = list(dict.fromkeys(queue.items.column("file_name").to_pylist()))
    assert [task["data"]["file_name"] for task in tasks] == names
    assert all((tmp_path / "out/images" / name).is_file() for name in names)
    assert (tmp_path / "out/label_config.xml").is_file()


def test_images_stay_where_the_tool_finds_them(run: Path, tmp_path: Path) -> None:
    _export(run, tmp_path / "out", "label-studio", image_base="https://bucket/images", where="phrase = 'a dog'")
    tasks = json.loads((tmp_path / "out/tasks.json").read_text())
    assert {task["data"]["image"].rpartition("/")[0] for task in tasks} == {"https://bucket/images"}
    assert not (tmp_path / "out/images").exists()
    assert {one["value"] for task in tasks for one in task["data"]["labels"]} == {"a dog"}


def test_it_can_be_written_again_and_nothing_else_is_overwritten(run: Path, tmp_path: Path) -> None:
    def written() -> dict[str, bytes]:
        return {str(one): one.read_bytes() for one in (tmp_path / "out").rglob("*") if one.is_file()}

    _export(run, tmp_path / "out", "coco")
    first = written()
    _export(run, tmp_path / "out", "coco")
    assert written() == first
    with pytest.raises(UsageError, match="holds another export"):
        _export(run, tmp_path / "out", "datumaro")
    with pytest.raises(UsageError, match="fiftyone has no server"):
        _export(run, tmp_path / "other", "fiftyone", push="http://localhost")


def test_an_unfinished_run_goes_out_too(open_run: Path, tmp_path: Path) -> None:
    assert _export(open_run, tmp_path / "out", "cvat")["images"] == 15
    edits = _ingest(open_run, tmp_path / "out", tmp_path / "reviewed")
    assert {one["verdict"] for one in edits} == {"unchanged"}
