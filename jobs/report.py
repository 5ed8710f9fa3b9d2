"""Write `report.html` of a run again, or of one that goes on: `python jobs/report.py OUTPUT`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from pipeline.config import MISTAKES, parse_storage_options
from pipeline.redact import Redactor
from pipeline.report import REPORT_NAME, saved_config, write_report
from pipeline.run import uri_policy
from pipeline.storage import Storage
from pipeline.store_errors import StorageError

EXIT_DONE, EXIT_CRASHED, EXIT_USAGE = 0, 1, 2


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 the storage failed, 2 bad usage."""
    parser = argparse.ArgumentParser(prog="report", description=__doc__)
    parser.add_argument("output", help="the --output of a run, finished or not")
    parser.add_argument("--gpu-price", type=float, help="per GPU and hour; default: what the run was given")
    parser.add_argument("--storage-options", nargs="+", default=[], metavar="K=V", help="as the run was given")
    args = parser.parse_args(argv)
    redact = Redactor({})
    try:
        options = parse_storage_options(args.storage_options)
        redact = Redactor(options)
        storage = Storage(args.output, options)
        config = saved_config(storage, options)
        if args.gpu_price is not None:
            config = dataclasses.replace(config, gpu_price=args.gpu_price)
        write_report(storage, config, uri_policy(config))
    except StorageError as error:
        print(f"error: storage: {redact(str(error))}", file=sys.stderr)
        return EXIT_CRASHED
    except MISTAKES as error:
        print(f"error: {redact(str(error))}", file=sys.stderr)
        return EXIT_USAGE
    print(storage.path(REPORT_NAME))
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
