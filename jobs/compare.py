"""Where two finished runs over one input disagree, and what each cost: `python jobs/compare.py A B --output DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from litelvlm.pipeline.command import JobParser, Secrets, configure, run_job
from litelvlm.pipeline.compare.config import CompareConfig
from litelvlm.pipeline.exit_codes import EXIT_DONE


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 crashed or the storage failed (run again), 2 bad usage."""
    return run_job(lambda secrets: _compare(argv, secrets))


def _compare(argv: list[str] | None, secrets: Secrets) -> int:
    parser = JobParser(prog="compare", description=__doc__).add_settings(CompareConfig)
    config = configure(CompareConfig, vars(parser.parse_args(argv)))
    secrets.of(config.storage_options)
    from litelvlm.pipeline.compare.run import compare_runs

    compare_runs(config, lambda line: print(line, flush=True))
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
