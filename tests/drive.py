"""A run with the fake model in a process of its own, to be killed: `python -m tests.drive SOURCE OUTPUT SECONDS`."""

from __future__ import annotations

import sys

from pipeline.run import annotate_dataset
from tests.fakes import FakeEngine
from tests.pipeline.samples import run_config


def main() -> int:
    """Run; the exit code is that of the run."""
    source, output, seconds_per_image = sys.argv[1:4]
    config = run_config(source, output, shard_images=4, num_cpus=4)
    return annotate_dataset(config, engine=FakeEngine(seconds_per_image=float(seconds_per_image)))


if __name__ == "__main__":
    sys.exit(main())
