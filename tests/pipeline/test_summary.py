"""How a session is summed up: what it did, how it ended, without a secret."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.errors import RunError, UsageError
from litelvlm.pipeline.measure.run_summary import RunSummary
from litelvlm.pipeline.output.finalize import merge_run
from litelvlm.pipeline.shards.manifest import make_plan
from litelvlm.pipeline.summary import Summariser
from litelvlm.pipeline.tally import Tally
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.samples import mixed_rows, row, run_config, write_table


@pytest.fixture
def summariser(tmp_path: Path) -> Summariser:
    source = write_table(tmp_path / "in.parquet", [row(0), row(1)])
    config = run_config(source, tmp_path / "out", storage_options={"secret": "hunter2"})
    return Summariser(config=config, plan=make_plan(config, revision="r"), started_at=0.0, resumed_rows=1)


def test_a_finished_run_adds_up_to_its_tables(tmp_path: Path) -> None:
    storage, config = make_output(tmp_path, mixed_rows(20), gpu_price=36.0, gpus_per_actor=2.0)
    plan = make_plan(config, revision="fake-1")
    found = Summariser(config=config, plan=plan).finished(
        merge_run(storage, plan, config), exceeded=False, storage=storage
    )
    counts = found.counts
    assert (found.state, found.exit_code) == ("done", 0)
    assert counts["rows"] == 20
    assert counts["ok"] + counts["empty"] + counts["failed"] == counts["records"] == 37
    assert sum(found.reasons.values()) == counts["failed"] == 2
    table = pq.read_table(f"{config.output}/throughput.parquet")
    assert found.totals is not None
    assert found.totals["held_s"] == pytest.approx(sum(table.column("held_s").to_pylist()))
    assert found.totals["gpu_s"] == pytest.approx(2 * (found.totals["held_s"] or 0.0))
    assert found.cost == found.totals["cost"] == pytest.approx((found.totals["gpu_s"] or 0.0) / 100)
    assert found.totals["tflop"] is None  # no row has one
    assert RunSummary.from_json(found.to_json(), "run.json") == found


def test_one_that_exceeded_its_failure_rate_says_so_by_its_code(summariser: Summariser) -> None:
    tally = Tally(rows=2, records=4, failed=3, reasons=Counter({"at s3://u:p@b/x?k=1 hunter2": 3}))
    found = summariser.stopped(tally)
    assert (found.state, found.exit_code) == ("failure_rate_exceeded", 3)
    assert found.counts == {"rows": 2, "records": 4, "failed": 3}
    assert found.reasons == {"at s3://<redacted>@b/x?<redacted> <redacted>": 3}


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [(RunError("lost hunter2"), "crashed", 1), (UsageError("no hunter2"), "bad_usage", 2)],
)
def test_an_error_is_kept_with_what_was_committed(
    summariser: Summariser, error: Exception, state: str, code: int
) -> None:
    found = summariser.crashed(Tally(rows=1, records=2), error)
    assert (found.state, found.exit_code) == (state, code)
    assert found.error == f"{type(error).__name__}: {str(error).replace('hunter2', '<redacted>')}"
    assert (found.counts["records"], found.resumed_rows, found.started_at) == (2, 1, "1970-01-01T00:00:00Z")
    assert "hunter2" not in found.to_json().decode()
    assert {"python", "ray", "pyarrow"} <= set(found.versions)


def test_only_the_most_frequent_reasons_are_told(summariser: Summariser) -> None:
    reasons = Counter({f"reason {chr(65 + at)}": at + 1 for at in range(25)})
    found = summariser.stopped(Tally(reasons=reasons)).reasons
    assert len(found) == 20
    assert min(found.values()) == 6


def test_what_a_session_did_is_noted(summariser: Summariser) -> None:
    class Ended:
        elapsed_s, rows, images, records, gpu_s, cost = 4.0, 8, 6, 12, 3.0, None

    progress: Any = Ended()
    summariser.note(progress)
    assert summariser.session["images_per_s"] == 1.5
    assert summariser.session["phrases_per_s"] == 3.0
    assert summariser.session["cost"] is None
