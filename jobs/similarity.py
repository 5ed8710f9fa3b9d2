"""Does CLIP find what a phrase means more or less similar to it: `python jobs/similarity.py --input … --output …`.

Compares the patches inside of the true masks with those outside, as pruning rules that look at text score them
(docs/similarity.md). One process, without Ray; of the model only the CLIP towers are loaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from litelvlm.evaluation.similarity.config import SimilarityConfig
from litelvlm.pipeline.command import JobParser, Secrets, configure, run_job


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 crashed, 2 bad usage or input, 3 too many phrases failed."""
    return run_job(lambda secrets: _measure(argv, secrets))


def _measure(argv: list[str] | None, secrets: Secrets) -> int:
    config = read_flags(argv)
    secrets.of(config.run.storage_options)
    from litelvlm.evaluation.similarity.run import measure_similarity

    return measure_similarity(config)


def read_flags(argv: list[str] | None) -> SimilarityConfig:
    """The configuration of a run. Raises UsageError naming what does not fit."""
    parser = JobParser(prog="similarity", description=__doc__).add_settings(SimilarityConfig)
    return configure(SimilarityConfig, vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
