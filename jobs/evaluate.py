"""Score rules and budgets on referring-segmentation data: `python jobs/evaluate.py --input … --output … --rules …`.

Images are encoded once for all combinations. Run it again to resume.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from litelvlm.evaluation.config import EvaluationConfig
from litelvlm.pipeline.command import JobParser, Secrets, configure, run_job


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 crashed, 2 bad usage or input, 3 too many answers failed."""
    return run_job(lambda secrets: _evaluate(argv, secrets), resumes=True)


def _evaluate(argv: list[str] | None, secrets: Secrets) -> int:
    config = read_flags(argv)
    secrets.of(config.run.storage_options)
    from litelvlm.evaluation.run import evaluate_dataset

    return evaluate_dataset(config)


def read_flags(argv: list[str] | None) -> EvaluationConfig:
    """The configuration of an evaluation. Raises UsageError naming what does not fit."""
    parser = JobParser(prog="evaluate", description=__doc__).add_settings(EvaluationConfig)
    return configure(EvaluationConfig, vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
