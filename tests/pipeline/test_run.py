"""Whole runs over small inputs with the fake model, on a real Ray."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.errors import StageError, UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE, EXIT_FAILURE_RATE
from litelvlm.pipeline.masks import EncodedMask, decode_mask
from litelvlm.pipeline.run import annotate_dataset
from tests.fakes import DEVICE_PHRASE, KILL_HEIGHT, FakeEngine, true_mask, true_score
from tests.pipeline.samples import (
    final_bytes,
    mixed_rows,
    picture,
    png,
    read_coco,
    read_records,
    row,
    run_config,
    write_table,
)

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> tuple[list[dict[str, Any]], Path, str]:
    """Input rows, the output of an uninterrupted run over them, and the input's path."""
    root = tmp_path_factory.mktemp("finished")
    rows = mixed_rows(50)
    source = write_table(root / "in.parquet", rows)
    assert annotate_dataset(run_config(source, root / "out"), engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    return rows, root / "out", source


def test_every_phrase_of_every_row_ends_as_one_record_in_input_order(
    finished: tuple[list[dict[str, Any]], Path, str],
) -> None:
    rows, output, _ = finished
    expected = [(number, index) for number, given in enumerate(rows) for index in range(len(given["phrases"]))]
    records = read_records(output)
    assert [(record["source_row"], record["phrase_index"]) for record in records] == expected
    assert {record["status"] for record in records} == {"ok", "empty", "failed"}


def test_masks_scores_and_boxes_are_those_of_the_model(finished: tuple[list[dict[str, Any]], Path, str]) -> None:
    _, output, _ = finished
    checked = 0
    for record in read_records(output):
        if record["status"] != "ok":
            continue
        rgb = picture(record["source_row"])
        truth = true_mask(rgb, record["phrase"])
        mask = EncodedMask(
            size_hw=(record["height"], record["width"]),
            counts=record["mask_rle"],
            area=record["area"],
            bbox_xywh=tuple(record["bbox_xywh"]),
        )
        np.testing.assert_array_equal(decode_mask(mask), truth)
        assert record["area"] == truth.sum()
        assert record["score"] == pytest.approx(true_score(record["phrase"]))
        checked += 1
    assert checked > 60


def test_failures_name_their_reason_and_fail_nothing_else(finished: tuple[list[dict[str, Any]], Path, str]) -> None:
    _, output, _ = finished
    by_row = {(record["source_row"], record["phrase_index"]): record for record in read_records(output)}
    assert by_row[3, 0]["status"] == "failed"
    assert "html" in by_row[3, 0]["error"]
    assert by_row[7, 0]["error"] == "phrase: empty"
    assert by_row[7, 1]["status"] == "ok"
    errors = pq.read_table(output / "errors.parquet").to_pylist()
    failed = [record for record in by_row.values() if record["status"] == "failed"]
    assert [(error["source_row"], error["error"]) for error in errors] == [
        (r["source_row"], r["error"]) for r in failed
    ]


def test_coco_holds_every_decoded_image_and_every_mask(finished: tuple[list[dict[str, Any]], Path, str]) -> None:
    _, output, _ = finished
    coco = read_coco(output)
    records = read_records(output)
    decoded = {record["file_name"] for record in records if record["height"] is not None}
    assert {image["file_name"] for image in coco["images"]} == decoded
    assert len(coco["images"]) == len(decoded)
    assert len(coco["annotations"]) == sum(record["status"] == "ok" for record in records)
    empty = next(record for record in records if record["status"] == "empty")
    assert empty["file_name"] in decoded
    assert empty["mask_rle"] is None


def test_throughput_and_summary_add_up(finished: tuple[list[dict[str, Any]], Path, str]) -> None:
    rows, output, _ = finished
    statuses = Counter(record["status"] for record in read_records(output))
    table = pq.read_table(output / "throughput.parquet").to_pylist()
    summary = json.loads((output / "run.json").read_text())
    assert sum(shard["phrases"] for shard in table) == sum(statuses.values()) == summary["counts"]["records"]
    assert sum(shard["rows"] for shard in table) == len(rows) == summary["counts"]["rows"]
    for status, count in statuses.items():
        assert sum(shard[status] for shard in table) == count == summary["counts"][status]
    assert summary["state"] == "done"
    assert summary["totals"]["retained_tokens"] * 3 < summary["totals"]["visual_tokens"] * 1.01


def test_nothing_but_committed_work_is_left(finished: tuple[list[dict[str, Any]], Path, str]) -> None:
    _, output, _ = finished
    markers = [json.loads(path.read_text()) for path in (output / "_done").iterdir()]
    assert {path.name for path in (output / "shards").iterdir()} == {
        Path(marker["data"]["name"]).name for marker in markers
    }
    assert not list((output / "_attempts").rglob("*.*")) or not (output / "_attempts").exists()
    assert json.loads((output / "_SUCCESS").read_text())["rows"] == 50


def test_running_a_finished_run_again_changes_nothing(finished: tuple[list[dict[str, Any]], Path, str]) -> None:
    _, output, source = finished
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in output.rglob("*") if path.is_file()}
    stream = io.StringIO()
    assert annotate_dataset(run_config(source, output), engine=FakeEngine(), stream=stream) == EXIT_DONE
    assert "nothing to do" in stream.getvalue()
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in output.rglob("*") if path.is_file()}
    assert before == after


def test_losing_half_of_the_work_changes_no_byte_of_the_result(
    finished: tuple[list[dict[str, Any]], Path, str], tmp_path: Path
) -> None:
    _, output, source = finished
    assert (
        annotate_dataset(run_config(source, tmp_path / "out"), engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    )
    markers = sorted((tmp_path / "out/_done").iterdir())
    for marker in markers[::2]:
        marker.unlink()
    (tmp_path / "out/_SUCCESS").unlink()
    (tmp_path / "out/records/part-00000.parquet").unlink()
    stream = io.StringIO()
    assert annotate_dataset(run_config(source, tmp_path / "out"), engine=FakeEngine(), stream=stream) == EXIT_DONE
    assert f"{len(markers) // 2} shards are done" in stream.getvalue()
    assert final_bytes(tmp_path / "out") == final_bytes(output)


def test_rows_that_kill_a_worker_are_given_up_alone(tmp_path: Path) -> None:
    rows = [row(number) for number in range(12)]
    rows[2]["phrases"] = ["a dog", "kill the worker"]
    rows[7]["image"] = png(picture(7, height=KILL_HEIGHT))
    source = write_table(tmp_path / "in.parquet", rows)
    config = run_config(source, tmp_path / "out", shard_images=4)
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    records = read_records(tmp_path / "out")
    failed = {record["source_row"]: record["error"] for record in records if record["status"] == "failed"}
    assert set(failed) == {2, 7}
    assert "annotated it" in failed[2]
    assert "decoded it" in failed[7]
    assert len(records) == 13


def test_scattered_rows_of_one_image_make_one_coco_image(tmp_path: Path) -> None:
    shown = row(1)["image"]
    rows = [row(1, "a dog"), row(2), row(1, "the red box"), row(3), row(1, "blue thing")]
    rows += [row(4, image=row(5)["image"]), row(4)]  # one id, two different images
    source = write_table(tmp_path / "in.parquet", rows)
    config = run_config(source, tmp_path / "out", shard_images=2)
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    coco = read_coco(tmp_path / "out")
    names = [image["file_name"] for image in coco["images"]]
    assert names[:3] == ["image-0001.png", "image-0002.png", "image-0003.png"]
    assert names[3] == "image-0004.png"
    assert names[4].startswith("image-0004~")
    first = coco["images"][0]["id"]
    phrases = [a["attributes"]["phrase"] for a in coco["annotations"] if a["image_id"] == first]
    assert phrases == ["a dog", "the red box", "blue thing"]
    assert shown == rows[4]["image"]


def test_too_many_failures_stop_the_run_and_keep_its_work(tmp_path: Path) -> None:
    rows = [row(number, image=b"<html>") for number in range(40)]
    source = write_table(tmp_path / "in.parquet", rows)
    stream = io.StringIO()
    config = run_config(source, tmp_path / "out", max_failure_rate=0.1)
    assert annotate_dataset(config, engine=FakeEngine(), stream=stream) == EXIT_FAILURE_RATE
    assert "html" in stream.getvalue()
    assert not (tmp_path / "out/_SUCCESS").exists()
    summary = json.loads((tmp_path / "out/run.json").read_text())
    assert (summary["state"], summary["exit_code"]) == ("failure_rate_exceeded", 3)
    assert list((tmp_path / "out/_done").iterdir())
    config = run_config(source, tmp_path / "out", max_failure_rate=1.0)
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    assert len(read_records(tmp_path / "out")) == 40


def test_overwriting_starts_over_and_leaves_other_files_alone(tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", [row(number) for number in range(6)])
    output = tmp_path / "out"
    assert annotate_dataset(run_config(source, output), engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    (output / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="num_retain_tokens was 21 and is now 9"):
        annotate_dataset(run_config(source, output, num_retain_tokens=9), engine=FakeEngine(), stream=io.StringIO())
    config = run_config(source, output, num_retain_tokens=9, limit=2, overwrite=True)
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    assert len(read_records(output)) == 2
    assert len(list((output / "_done").iterdir())) == 1
    assert (output / "mine.txt").read_text() == "kept"


def test_a_broken_engine_propagates(tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", [row(1, "a dog"), row(2, "a cat")])
    with pytest.raises(StageError, match="the engine broke on a dog"):
        annotate_dataset(run_config(source, tmp_path / "out"), engine=FakeEngine(broken=True), stream=io.StringIO())
    assert not list((tmp_path / "out").glob("_done/*"))


@pytest.mark.parametrize("alone", [False, True])
def test_a_phrase_on_which_the_model_raises_fails_alone(tmp_path: Path, alone: bool) -> None:
    rows = [row(number, "a dog", "break" if number == 2 else "a cat") for number in range(5)]
    rows = [row(2, "break")] if alone else rows
    source = write_table(tmp_path / "in.parquet", rows)
    engine = FakeEngine(break_on="break")
    assert annotate_dataset(run_config(source, tmp_path / "out"), engine=engine, stream=io.StringIO()) == EXIT_DONE
    records = read_records(tmp_path / "out")
    failed = [record for record in records if record["status"] == "failed"]
    assert [(record["phrase"], record["error"]) for record in failed] == [
        ("break", "the model failed on this record: RuntimeError: the engine broke on break")
    ]
    assert len(records) == (1 if alone else 10)
    assert all(record["status"] == "ok" for record in records if record not in failed)


def test_a_record_that_breaks_the_device_is_quarantined_alone(tmp_path: Path) -> None:
    rows = [row(0), row(1, DEVICE_PHRASE)]
    source = write_table(tmp_path / "in.parquet", rows)
    assert (
        annotate_dataset(run_config(source, tmp_path / "out"), engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    )
    records = read_records(tmp_path / "out")
    assert [record["status"] for record in records] == ["ok", "failed"]
    assert "killed the worker" in records[1]["error"]


def test_a_checkpoint_that_does_not_load_is_bad_usage(tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", [row(1)])
    engine = FakeEngine(load_error="model: tensors are missing")
    with pytest.raises(UsageError, match="tensors are missing"):
        annotate_dataset(run_config(source, tmp_path / "out"), engine=engine, stream=io.StringIO())


def test_a_score_that_is_no_number_fails_its_record(tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", [row(1, "no score", "a dog")])
    assert (
        annotate_dataset(run_config(source, tmp_path / "out"), engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    )
    assert [record["status"] for record in read_records(tmp_path / "out")] == ["failed", "ok"]


def test_the_baseline_compares_the_sampled_images(tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", [row(number, "a dog", "red") for number in range(20)])
    config = run_config(source, tmp_path / "out", baseline_images=5)
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    baseline = json.loads((tmp_path / "out/run.json").read_text())["baseline"]
    assert baseline["images"] == 5
    assert baseline["phrases"] == 10
    assert baseline["mean_iou_pruned_vs_unpruned"] == 1.0


def test_images_are_copied_with_the_run_or_later(
    finished: tuple[list[dict[str, Any]], Path, str], tmp_path: Path
) -> None:
    _, output, source = finished
    config = run_config(source, tmp_path / "out", write_images=True)
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    names = {one["file_name"] for one in read_coco(output)["images"]}
    assert {str(path.relative_to(tmp_path / "out/upright")) for path in tmp_path.glob("out/upright/*")} == names
    said = io.StringIO()
    later = run_config(source, output, write_images=True)
    assert annotate_dataset(later, engine=FakeEngine(), stream=said) == EXIT_DONE
    assert f"{len(names)} of {len(names)} images are in {output}/upright" in said.getvalue()
    assert annotate_dataset(later, engine=FakeEngine(), stream=said) == EXIT_DONE
    assert "nothing to do" in said.getvalue().splitlines()[-1]
