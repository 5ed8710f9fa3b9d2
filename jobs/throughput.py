"""The throughput table of a run, finished or not, from its markers: `python jobs/throughput.py OUTPUT`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

import pyarrow.parquet as pq

from pipeline.config import MISTAKES, parse_storage_options
from pipeline.live import describe_table, live_table
from pipeline.records import MANIFEST_NAME
from pipeline.redact import Redactor
from pipeline.storage import Storage
from pipeline.store_errors import StorageError

EXIT_DONE, EXIT_CRASHED, EXIT_USAGE = 0, 1, 2


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 the storage failed, 2 bad usage."""
    parser = argparse.ArgumentParser(prog="throughput", description=__doc__)
    parser.add_argument("output", help="the --output of a run, finished or not")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table there, as Parquet")
    parser.add_argument("--gpu-price", type=float, help="per GPU and hour; default: what the run was given")
    parser.add_argument("--storage-options", nargs="+", default=[], metavar="K=V", help="as the run was given")
    args = parser.parse_args(argv)
    redact = Redactor({})
    try:
        options = parse_storage_options(args.storage_options)
        redact = Redactor(options)
        storage = Storage(args.output, options)
        table = live_table(storage, gpu_price=args.gpu_price)
        with storage.open_read(MANIFEST_NAME) as file:
            print(describe_table(table, num_shards=pq.ParquetFile(file).metadata.num_rows))
        if args.table:
            pq.write_table(table, args.table)
    except StorageError as error:
        print(f"error: storage: {redact(str(error))}", file=sys.stderr)
        return EXIT_CRASHED
    except MISTAKES as error:
        print(f"error: {redact(str(error))}", file=sys.stderr)
        return EXIT_USAGE
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
