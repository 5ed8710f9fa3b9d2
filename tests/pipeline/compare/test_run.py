"""A comparison of two runs, from their outputs to what it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.compare.comparison import Comparison
from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.masks import EncodedMask, mask_iou
from litelvlm.pipeline.schemas import COMPARISON_SCHEMA
from tests.pipeline.compare.conftest import MOVED, UNSEEN, OtherEngine, compare, other_rows, rows
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import read_records, row

Compared = tuple[Comparison, Path, list[str]]


def _table(output: Path) -> list[dict[str, Any]]:
    return pq.read_table(output / "compare.parquet").to_pylist()


def _mask(record: dict[str, Any]) -> EncodedMask:
    return EncodedMask(
        size_hw=(record["height"], record["width"]), counts=record["mask_rle"], area=record["area"],
        bbox_xywh=tuple(record["bbox_xywh"]),
    )  # fmt: skip


def test_records_are_put_together_by_their_keys(compared: Compared, run_a: Path, run_b: Path) -> None:
    a, b = ({one["record"]: one for one in read_records(run)} for run in (run_a, run_b))
    found, output, _ = compared
    table = _table(output)
    assert pq.read_schema(output / "compare.parquet").equals(COMPARISON_SCHEMA)
    assert [one["record"] for one in table] == [key for key in a if key in b]
    assert found.records["only_a"] == len(a.keys() - b.keys()) > 0
    assert found.records["only_b"] == len(b.keys() - a.keys()) > 0
    assert found.records["both"] == len(table)
    assert found.records["compared"] == sum(one["iou"] is not None for one in table)
    for one in table:
        first, second = a[one["record"]], b[one["record"]]
        assert (one["status_a"], one["status_b"]) == (first["status"], second["status"])
        assert (one["phrase"], one["source_row"]) == (first["phrase"], first["source_row"])
        if one["iou"] is not None and first["mask_rle"] and second["mask_rle"]:
            assert one["iou"] == pytest.approx(mask_iou(_mask(first), _mask(second)))


def test_models_disagree_where_they_do(compared: Compared) -> None:
    for one in _table(compared[1]):
        if one["left_out"] is None:
            assert one["agrees"] == (one["phrase"] not in (MOVED, UNSEEN)), one
            assert one["phrase"] != UNSEEN or (one["status_a"], one["status_b"], one["iou"]) == ("ok", "empty", 0.0)
    pairs = {(one["a"], one["b"]) for one in compared[0].statuses}
    assert {("absent", "absent"), ("failed", "failed"), ("empty", "empty")} <= pairs


def test_what_was_asked_otherwise_is_left_out(compared: Compared) -> None:
    left_out = {(one["source_row"], one["phrase_index"]): one["left_out"] for one in _table(compared[1])}
    assert left_out[1, 0] == "other phrase"
    assert left_out[1, 1] is None
    assert left_out[2, 0] == left_out[4, 0] == "other image"
    assert left_out[3, 0] == left_out[6, 1] == "failed"
    assert left_out[9, 0] is None


def test_its_summary_is_read_back(compared: Compared, run_a: Path) -> None:
    found, output, lines = compared
    assert Comparison.from_json((output / "compare.json").read_bytes(), "compare.json") == found
    assert (found.a.path, found.a.model_revision, found.b.model_revision) == (str(run_a), "fake-1", "fake-2")
    assert found.a.costs.cost is not None
    assert found.b.costs.cost is None
    assert found.overall.records == sum(one.records for one in found.by_size.values())
    assert lines[0] == f"{found.records['both']} records in both runs, 3 only in A, 1 only in B"
    assert "are not compared" in lines[1]


@pytest.mark.slow
def test_it_is_the_same_every_time(compared: Compared, run_a: Path, run_b: Path, tmp_path: Path) -> None:
    output = compared[1]
    before = {one.name: one.read_bytes() for one in output.iterdir()}
    compare(run_a, run_b, output)
    assert {one.name: one.read_bytes() for one in output.iterdir()} == before
    compare(run_a, run_b, tmp_path / "again")
    assert {one.name: one.read_bytes() for one in (tmp_path / "again").iterdir()} == before


def test_a_limit_and_a_price_are_those_asked_for(run_a: Path, run_b: Path, tmp_path: Path) -> None:
    found = compare(run_a, run_b, tmp_path / "x", agree_iou=0.1, worst=0, gpu_price=2.0)
    assert found.a.costs.gpu_price == found.b.costs.gpu_price == 2.0
    assert all(one["agrees"] == (one["iou"] >= 0.1) for one in _table(tmp_path / "x") if one["iou"] is not None)
    assert "data:image/jpeg" not in (tmp_path / "x/compare.html").read_text()


@pytest.mark.slow
def test_files_in_another_order_are_found_all_the_same(tmp_path: Path) -> None:
    """Records are in the order of the input, which need not be the same."""
    for name in ("a", "b"):
        make_output(tmp_path / name, rows())
    parts = pq.read_table(tmp_path / "b/out/records/part-00000.parquet")
    pq.write_table(parts.take(list(range(len(parts)))[::-1]), tmp_path / "b/out/records/part-00000.parquet")
    found = compare(tmp_path / "a/out", tmp_path / "b/out", tmp_path / "c")
    assert found.records["only_a"] == found.records["only_b"] == 0
    assert found.overall.mean_iou == 1.0


def test_runs_of_different_inputs_have_nothing_in_common(run_a: Path, tmp_path: Path) -> None:
    make_output(tmp_path, [row(100 + number, "something else") for number in range(8)])
    with pytest.raises(UsageError, match="have no record in common"):
        compare(run_a, tmp_path / "out", tmp_path / "c")
    assert not [one for one in (tmp_path / "c").rglob("*") if one.is_file()]


def test_what_is_no_finished_run_is_refused(run_a: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        compare(run_a, tmp_path / "gone", tmp_path / "c")
    make_output(tmp_path, other_rows(), engine=OtherEngine(), shards=1, finish=False)
    with pytest.raises(UsageError, match="is not finished"):
        compare(tmp_path / "out", run_a, tmp_path / "c")
    run = tmp_path / "out/run.json"
    summary = json.loads((run_a / "run.json").read_text())
    run.write_text(json.dumps(summary | {"state": "failure_rate_exceeded"}))
    with pytest.raises(UsageError, match="a higher --max-failure-rate"):
        compare(tmp_path / "out", run_a, tmp_path / "c")
    saved = json.loads((tmp_path / "out/config.json").read_text())
    (tmp_path / "out/config.json").write_text(json.dumps(saved | {"version": 1}))
    with pytest.raises(UsageError, match="says version 1"):
        compare(run_a, tmp_path / "out", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_nothing_else_is_overwritten(run_a: Path, run_b: Path, compared: Compared, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"something else, such as notes\.txt"):
        compare(run_a, run_b, tmp_path)
    with pytest.raises(UsageError, match="holds another comparison"):
        compare(run_b, run_a, compared[1])
