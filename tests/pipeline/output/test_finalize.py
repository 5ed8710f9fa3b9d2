"""Ending a run: everything accounted for, orphans swept, `_SUCCESS` last and only for this very plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.output.finalize import is_finished, mark_finished, merge_run, seal_run, sweep
from litelvlm.pipeline.shards.manifest import make_plan
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import mixed_rows, row, run_config, write_table


def test_a_shard_without_a_marker_ends_nothing(tmp_path: Path) -> None:
    storage, config = make_output(tmp_path, mixed_rows(20), shards=2, finish=False)
    plan = make_plan(config, revision="fake-1")
    with pytest.raises(DataError, match=f"1 shards have no marker, the first is {plan.shards[2].shard_id}"):
        merge_run(storage, plan, config)
    assert not is_finished(storage, plan.fingerprint)


def test_success_is_that_of_a_plan(tmp_path: Path) -> None:
    config = run_config(write_table(tmp_path / "in.parquet", [row(0), row(1)]), tmp_path / "out")
    storage, plan = Storage(config.output), make_plan(config, revision="r")
    assert not is_finished(storage, plan.fingerprint)
    mark_finished(storage, plan, records=3)
    assert json.loads(storage.read_bytes("_SUCCESS")) == {"fingerprint": plan.fingerprint, "rows": 2, "records": 3}
    assert is_finished(storage, plan.fingerprint)
    assert not is_finished(storage, make_plan(config, revision="other").fingerprint)


def test_what_no_marker_stands_for_is_swept_and_nothing_else(tmp_path: Path) -> None:
    storage, config = make_output(tmp_path, mixed_rows(20), finish=False)
    plan = make_plan(config, revision="fake-1")
    totals = merge_run(storage, plan, config)
    storage.write_bytes("notes/mine.txt", b"the user's")
    kept = {str(path.relative_to(config.output)) for path in Path(config.output).rglob("*") if path.is_file()}
    kept = {name for name in kept if not name.startswith("_attempts/")}
    orphans = (
        "shards/0000000-x.dead.parquet",
        "_attempts/s/decode/all/now.1",
        "_done/s.json.tmp-1",
        "records/part-00007.parquet",
        "annotations/part-00007.json",
        "errors.parquet.tmp-1",
    )
    for name in orphans:
        Path(config.output, name).parent.mkdir(parents=True, exist_ok=True)
        Path(config.output, name).write_bytes(b"half")
    seal_run(storage, plan, totals)
    left = {str(path.relative_to(config.output)) for path in Path(config.output).rglob("*") if path.is_file()}
    assert left == kept | {"README.md", "_SUCCESS"}
    assert sweep(storage, totals.data_names) == 0


def test_an_empty_output_has_nothing_to_sweep(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert sweep(Storage(str(tmp_path / "out")), set()) == 0
