"""A run with the fake model, as a job runs it, in a process of its own that is to be sent signals."""

from __future__ import annotations

import sys

from litelvlm.pipeline.command import run_job
from litelvlm.pipeline.run import annotate_dataset
from tests.fakes import FakeEngine
from tests.pipeline.samples import run_config


def main(source: str, output: str) -> int:
    """Run until somebody says stop. Returns the exit code."""
    config = run_config(source, output, shard_images=4, num_cpus=4)
    return run_job(lambda secrets: annotate_dataset(config, engine=FakeEngine(seconds_per_image=0.2)), resumes=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
