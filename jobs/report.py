"""Write `report.html` of a run again, or of one that goes on: `python jobs/report.py OUTPUT`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from litelvlm.pipeline.command import JobParser, Secrets, configure, run_job
from litelvlm.pipeline.config import EarlierRun
from litelvlm.pipeline.errors import MISTAKES
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.fetch.policy import uri_policy
from litelvlm.pipeline.report.write import REPORT_NAME, write_report
from litelvlm.pipeline.shards.claim import claimed_run
from litelvlm.pipeline.storage.store import Storage


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 the storage failed, 2 bad usage."""
    return run_job(lambda secrets: _report(argv, secrets), mistakes=MISTAKES)


def _report(argv: list[str] | None, secrets: Secrets) -> int:
    parser = JobParser(prog="report", description=__doc__).add_settings(EarlierRun)
    asked = configure(EarlierRun, vars(parser.parse_args(argv)))
    options = secrets.of(asked.storage_options)
    storage = Storage(asked.output, options)
    config = claimed_run(storage).config_with(options)
    if asked.gpu_price is not None:
        config = dataclasses.replace(config, gpu_price=asked.gpu_price)
    write_report(storage, config, uri_policy(config))
    print(storage.path(REPORT_NAME))
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
