"""The throughput table of a run, finished or not, from its markers: `python jobs/throughput.py OUTPUT`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

import pyarrow.parquet as pq

from litelvlm.pipeline.command import JobParser, Secrets, configure, run_job
from litelvlm.pipeline.config import EarlierRun
from litelvlm.pipeline.errors import MISTAKES
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.measure.throughput_table import describe_table, live_table
from litelvlm.pipeline.schemas import MANIFEST_NAME
from litelvlm.pipeline.settings import Flag
from litelvlm.pipeline.storage.store import Storage


@dataclass(frozen=True, kw_only=True)
class ThroughputSettings(EarlierRun):
    """Which run, and where its table goes."""

    table: Annotated[str | None, Flag("write the table there, as Parquet", metavar="FILE")] = None


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 the storage failed, 2 bad usage."""
    return run_job(lambda secrets: _show(argv, secrets), mistakes=MISTAKES)


def _show(argv: list[str] | None, secrets: Secrets) -> int:
    parser = JobParser(prog="throughput", description=__doc__).add_settings(ThroughputSettings)
    asked = configure(ThroughputSettings, vars(parser.parse_args(argv)))
    storage = Storage(asked.output, secrets.of(asked.storage_options))
    table = live_table(storage, gpu_price=asked.gpu_price)
    with storage.open_read(MANIFEST_NAME) as file:
        print(describe_table(table, num_shards=pq.ParquetFile(file).metadata.num_rows))
    if asked.table:
        pq.write_table(table, asked.table)
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
