"""From masks to accepted labels: what to look at, out to a review tool and back, what may be accepted unseen.

python jobs/review.py queue  RUN --output Q.parquet --budget 300
python jobs/review.py export RUN --to label-studio --queue Q.parquet --output TASKS
python jobs/review.py ingest RUN --from project-export.json --queue Q.parquet --output REVIEWED
python jobs/review.py accept RUN --reviewed REVIEWED --queue Q.parquet --output ACCEPTED
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from litelvlm.pipeline.command import JobParser, Secrets, configure, run_job
from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.review.config import AcceptConfig, IngestConfig, QueueConfig, ReviewExportConfig

#: Settings of each step, the function that takes them, and what it is in words.
_STEPS: dict[str, tuple[Any, str, str]] = {
    "queue": (QueueConfig, "queue:make_queue", "which records to look at, in which order"),
    "export": (ReviewExportConfig, "export:export_review", "records for a review tool"),
    "ingest": (IngestConfig, "ingest:ingest", "what reviewers did, back from their tool"),
    "accept": (AcceptConfig, "accept:accept", "reviewed labels, and those that may be accepted unseen"),
}


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 crashed or the storage failed (run again), 2 bad usage."""
    return run_job(lambda secrets: _review(argv, secrets), resumes=True)


def _review(argv: list[str] | None, secrets: Secrets) -> int:
    flags = vars(build_parser().parse_args(argv))
    settings, function, _ = _STEPS[flags.pop("step")]
    config = configure(settings, flags)
    secrets.of(config.storage_options)
    module, _, name = function.partition(":")
    try:
        step = getattr(importlib.import_module(f"litelvlm.pipeline.review.{module}"), name)
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed: pip install 'litelvlm-annotate[review]'") from error
    step(config, lambda line: print(line, flush=True))
    return EXIT_DONE


def build_parser() -> JobParser:
    """A subcommand for each step."""
    parser = JobParser(prog="review", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    for name, (settings, _, words) in _STEPS.items():
        steps.add_parser(name, help=words, description=words).add_settings(settings)
    return parser


if __name__ == "__main__":
    sys.exit(main())
