"""What `--dry-run` says of a run, and that it leaves no trace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.dry_run import describe_run
from litelvlm.pipeline.measure.run_summary import find_summary
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeEngine
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import row, run_config, write_table


def said(config: Any, engine: FakeEngine | None = None) -> dict[str, str]:
    lines = describe_run(config, engine=engine or FakeEngine()).splitlines()
    width = max(len(line.split("  ")[0]) for line in lines)
    return {line[:width].rstrip(): line[width + 2 :] for line in lines}


def test_a_new_run_is_counted_and_nothing_is_written(tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", [row(number) for number in range(20)])
    found = said(run_config(source, tmp_path / "out", limit=10, num_retain_tokens="all"))
    assert (found["files"], found["input rows"], found["rows to annotate"]) == ("1", "20", "10")
    assert found["shards"] == "2 of at most 8 rows, 0 done"
    assert found["output"] == f"{tmp_path}/out (new)"
    assert found["pruning"] == "rule release, all visual tokens kept per prompt"
    assert found["model"].endswith("(revision fake-1)")
    assert found["estimated cost"].startswith("unknown; run with --limit first")
    assert not (tmp_path / "out").exists()


def test_a_run_that_was_begun_would_resume_be_removed_or_be_refused(tmp_path: Path) -> None:
    _, config = make_output(tmp_path, [row(number) for number in range(20)], shards=2, finish=False)
    found = said(config)
    assert found["shards"].endswith(", 2 done")
    assert "holds this run, which would resume" in found["output"]
    found = said(replace(config, overwrite=True))
    assert found["shards"].endswith(", 0 done")
    assert "which --overwrite would remove" in found["output"]
    other = said(replace(config, model=replace(config.model, num_retain_tokens=48)))
    assert "would be refused: num_retain_tokens was 21 and is now 48" in other["output"]


@pytest.mark.parametrize(("price", "cost"), [(3.0, "{:.2f}"), (None, "unknown without --gpu-price")])
def test_cost_is_estimated_from_the_rate_that_was_measured(tmp_path: Path, price: float | None, cost: str) -> None:
    storage, config = make_output(tmp_path, [row(number) for number in range(20)])
    summary = find_summary(storage)
    assert summary is not None
    slow = replace(summary, totals={"images": 4.0, "gpu_s": 36_000.0})
    storage.write_bytes("run.json", slow.to_json())
    found = said(replace(config, gpu_price=price))
    assert found["estimated device hours"] == "50.000 (at the rate measured here)"  # 20 rows, 2.5 hours each
    assert found["estimated cost"] == cost.format(150.0)


def test_what_the_model_remarks_is_passed_on(tmp_path: Path) -> None:
    class Remarking(FakeEngine):
        def check(self) -> list[str]:
            return ["nothing is pruned", "it is slow"]

    source = write_table(tmp_path / "in.parquet", [row(0)])
    assert said(run_config(source, tmp_path / "out"), Remarking())["note"] == "nothing is pruned; it is slow"


def test_mistakes_are_those_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such path"):
        describe_run(run_config(str(tmp_path / "gone"), tmp_path / "out"), engine=FakeEngine())
    Storage(str(tmp_path / "out")).write_bytes("config.json", b"{")
    source = write_table(tmp_path / "in.parquet", [row(0)])
    with pytest.raises(ValueError, match="start over with --overwrite"):
        describe_run(run_config(source, tmp_path / "out"), engine=FakeEngine())
