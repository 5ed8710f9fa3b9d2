"""What `compare.py` takes of time and memory on two large runs, and a queue that goes by its result.

    python -m benchmarks.compare_scale                     # a million records, about 3 minutes on 2 cores

The runs are drawn as `benchmarks.queue_scale` draws them; the second is the first with the masks of a half of its
records dealt anew. Every command is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.hardware import describe
from benchmarks.queue_scale import BUDGET, REVIEW, USED, draw_run
from litelvlm.pipeline.schemas import COMPARISON_NAME, RECORDS_DIR, THROUGHPUT_NAME, THROUGHPUT_SCHEMA

RESULT = Path(__file__).parent / "results" / "compare_scale.json"
COMPARE = Path(__file__).parent.parent / "jobs" / "compare.py"
ANSWER = ("mask_rle", "bbox_xywh", "area", "score")


def main() -> None:
    """Measure, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="compare-scale-") as scratch:
        first, num_records = draw_run(Path(scratch), options.records, finished=True)
        pq.write_table(THROUGHPUT_SCHEMA.empty_table(), first / THROUGHPUT_NAME)
        second = _other(first, Path(scratch) / "other")
        output, queue = Path(scratch) / "compared", Path(scratch) / "q.parquet"
        compared = _measured(COMPARE, str(first), str(second), "--output", str(output))
        if pq.ParquetFile(output / COMPARISON_NAME).metadata.num_rows != num_records:
            raise RuntimeError("not every record was compared")
        queued = _measured(
            REVIEW, "queue", str(first), "--compare", str(output), "--budget", str(BUDGET), "--output", str(queue)
        )
    content = {"hardware": describe(), "records": num_records, "compare": compared, "queue": queued}
    options.result.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content))


def _other(run: Path, copy: Path) -> Path:
    """The run with the answers of a half of its records dealt anew."""
    shutil.copytree(run, copy)
    rng = np.random.default_rng(5)
    for part in sorted((copy / RECORDS_DIR).glob("*.parquet")):
        source = pq.ParquetFile(run / RECORDS_DIR / part.name)
        with pq.ParquetWriter(part, source.schema_arrow, compression="zstd") as writer:
            for group in range(source.num_row_groups):
                writer.write_table(_dealt(source.read_row_group(group), rng))
    return copy


def _dealt(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    places = np.arange(table.num_rows)
    moved = rng.random(table.num_rows) < 0.5
    places[moved] = rng.permutation(places[moved])
    for name in ANSWER:
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), table.column(name).take(pa.array(places)))
    return table


def _measured(script: Path, *arguments: str) -> dict[str, Any]:
    """Seconds and memory of a command's own process."""
    command = [sys.executable, "-c", USED, sys.executable, str(script), *arguments]
    used: dict[str, float] = json.loads(subprocess.check_output(command))
    return {name: round(value, 1) for name, value in used.items()}


if __name__ == "__main__":
    main()
