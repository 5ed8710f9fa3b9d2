"""A run with the fake model, as a job runs it, in a process of its own that is to be sent signals."""

from __future__ import annotations

import sys

from litelvlm.pipeline.command import run_job
from litelvlm.pipeline.run import annotate_dataset
from tests.fakes import FakeEngine
from tests.pipeline.samples import run_config


def main(source: str, output: str, ray_address: str | None = None) -> int:
    """Run until somebody says stop, on a Ray of its own unless one is named. Returns the exit code."""
    cluster = {"ray_address": ray_address} if ray_address else {"num_cpus": 4}
    config = run_config(source, output, shard_images=4, **cluster)
    return run_job(lambda secrets: annotate_dataset(config, engine=FakeEngine(seconds_per_image=0.2)), resumes=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
