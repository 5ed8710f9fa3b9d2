"""A record that kills whoever touches it is quarantined alone; the others of its shard are annotated."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.run import annotate_dataset
from tests.conftest import ROOT
from tests.fakes import GREEDY_HEIGHT, KILL_HEIGHT, KILL_PHRASE, SEGFAULT_HEIGHT, FakeEngine
from tests.faults.harness import LONGEST_S
from tests.pipeline.samples import picture, png, read_records, row, run_config, write_table

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("local_ray")]

NUM_ROWS = 24
POISONED = (5, 6, 17)  # two of them neighbours in one shard


def rows_with(changes: dict[str, Any], poisoned: tuple[int, ...] = POISONED) -> list[dict[str, Any]]:
    """Rows of which some are poisoned."""
    return [row(number, **(changes if number in poisoned else {})) for number in range(NUM_ROWS)]


def check(fault_table: Any, output: Any, *, fault: str, elapsed: float, poisoned: tuple[int, ...] = POISONED) -> None:
    """Only the poisoned rows failed, each with a reason that says what it did."""
    records = read_records(output)
    rows = [record["source_row"] for record in records]
    fault_table.add(
        fault=fault,
        injected=len(poisoned),
        records_in=NUM_ROWS,
        records_out=len(records),
        lost=NUM_ROWS - len(set(rows)),
        doubled=len(rows) - len(set(rows)),
        resumed_s=elapsed,
    )
    assert rows == list(range(NUM_ROWS))
    failed = {record["source_row"]: record["error"] for record in records if record["status"] == "failed"}
    assert set(failed) == set(poisoned)
    assert all("killed the worker" in reason for reason in failed.values())


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        ("segfault in a decoder", {"image": png(picture(1, height=SEGFAULT_HEIGHT))}),
        ("decoder killed, as by the kernel", {"image": png(picture(1, height=KILL_HEIGHT))}),
        ("model's process killed", {"phrases": [KILL_PHRASE]}),
    ],
)
def test_records_that_kill_their_worker(fault_table: Any, tmp_path: Path, fault: str, changes: Any) -> None:
    source = write_table(tmp_path / "in.parquet", rows_with(changes), row_group_size=NUM_ROWS)
    started = time.monotonic()
    config = run_config(source, tmp_path / "out", shard_images=8)
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    check(fault_table, tmp_path / "out", fault=fault, elapsed=time.monotonic() - started)


def test_records_that_take_all_memory(fault_table: Any, tmp_path: Path) -> None:
    """Ray's own guard of the node's memory kills the decoder, again and again, until the record stands alone."""
    changes = {"image": png(picture(1, height=GREEDY_HEIGHT))}
    source = write_table(tmp_path / "in.parquet", rows_with(changes, POISONED[:1]), row_group_size=NUM_ROWS)
    command = [sys.executable, "-m", "tests.faults.small_memory", source, str(tmp_path / "out")]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2 * LONGEST_S, check=False)
    assert done.returncode == EXIT_DONE, done.stderr[-3000:]
    elapsed = time.monotonic() - started
    check(fault_table, tmp_path / "out", fault="decoder out of memory", elapsed=elapsed, poisoned=POISONED[:1])
