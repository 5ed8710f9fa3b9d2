"""A run on a node whose memory is watched closely: `python -m tests.faults.small_memory SOURCE OUTPUT`."""

from __future__ import annotations

import os
import sys

import psutil

from litelvlm.pipeline.run import annotate_dataset
from tests.fakes import FakeEngine
from tests.pipeline.samples import run_config

_ROOM_BYTES = 3 << 30  # beside what is in use when the run begins


def main(source: str, output: str) -> int:
    """Let Ray kill workers as soon as the node's memory grows by more than the room; run; return the exit code."""
    memory = psutil.virtual_memory()
    threshold = min(0.95, (memory.total - memory.available + _ROOM_BYTES) / memory.total)
    os.environ.update(RAY_memory_usage_threshold=f"{threshold:.3f}", RAY_memory_monitor_refresh_ms="100")
    return annotate_dataset(run_config(source, output, shard_images=8, num_cpus=4), engine=FakeEngine())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
