"""Annotate image–phrase Parquet with masks: `python jobs/annotate.py --input … --output …`. Run it again to resume."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from litelvlm.pipeline.command import JobParser, Secrets, configure, run_job
from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.errors import MISTAKES, UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 crashed, 2 bad usage or input, 3 failure rate exceeded."""
    return run_job(lambda secrets: _annotate(argv, secrets), resumes=True)


def _annotate(argv: list[str] | None, secrets: Secrets) -> int:
    config, dry_run = read_flags(argv)
    secrets.of(config.storage_options)
    if dry_run:
        print(_described(config))
        return EXIT_DONE
    from litelvlm.pipeline.run import annotate_dataset

    return annotate_dataset(config)


def build_parser() -> JobParser:
    """The settings of a run, and whether it is a dry one."""
    parser = JobParser(prog="annotate", description=__doc__).add_settings(RunConfig)
    parser.heading("output").add_argument(
        "--dry-run", action="store_true", help="say what would be done; write nothing (default: false)"
    )
    return parser


def read_flags(argv: list[str] | None) -> tuple[RunConfig, bool]:
    """The configuration of a run, and whether it is a dry one. Raises UsageError naming what does not fit."""
    flags = vars(build_parser().parse_args(argv))
    dry_run = flags.pop("dry_run")
    return configure(RunConfig, flags), dry_run


def _described(config: RunConfig) -> str:
    from litelvlm.pipeline.dry_run import describe_run

    try:
        return describe_run(config)
    except MISTAKES as error:
        raise UsageError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
