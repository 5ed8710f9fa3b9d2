"""The throughput table of a run, finished or not, from its markers: `python jobs/throughput.py OUTPUT`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

import pyarrow.parquet as pq

from litelvlm.pipeline.command import JobParser, Secrets, run_job
from litelvlm.pipeline.errors import MISTAKES
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.measure.throughput_table import describe_table, live_table
from litelvlm.pipeline.schemas import MANIFEST_NAME
from litelvlm.pipeline.storage.store import Storage


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 the storage failed, 2 bad usage."""
    return run_job(lambda secrets: _show(argv, secrets), mistakes=MISTAKES)


def _show(argv: list[str] | None, secrets: Secrets) -> int:
    parser = JobParser(prog="throughput", description=__doc__)
    parser.add_argument("output", help="the --output of a run, finished or not")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table there, as Parquet")
    parser.add_argument("--gpu-price", type=float, help="per GPU and hour; default: what the run was given")
    parser.add_argument("--storage-options", nargs="+", metavar="K=V", help="as the run was given")
    flags = parser.parse_args(argv)
    storage = Storage(flags.output, secrets.of_flags(flags.storage_options))
    table = live_table(storage, gpu_price=flags.gpu_price)
    with storage.open_read(MANIFEST_NAME) as file:
        print(describe_table(table, num_shards=pq.ParquetFile(file).metadata.num_rows))
    if flags.table:
        pq.write_table(table, flags.table)
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
