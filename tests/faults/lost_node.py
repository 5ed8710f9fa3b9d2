"""A cluster of three nodes loses the one that annotates: `python -m tests.faults.lost_node SOURCE OUTPUT`."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from pipeline.run import annotate_dataset
from tests.conftest import ROOT
from tests.fakes import FakeEngine
from tests.faults.harness import SHARD_IMAGES
from tests.pipeline.samples import run_config

NODES = 2
SECONDS_PER_IMAGE = 0.5


def main(source: str, output: str) -> int:
    """Run; in between, take away one node after the other and put a new one in its place."""
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=3) for _ in range(NODES)]
    ray.init(
        address=cluster.address,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    lost = threading.Event()

    def remove() -> None:
        for victim, markers in ((nodes[0], 2), (nodes[1], 5)):
            while len(list(Path(output).glob("_done/*.json"))) < markers:
                time.sleep(0.01)
            cluster.add_node(num_cpus=3)
            cluster.remove_node(victim, allow_graceful=False)
        lost.set()

    thread = threading.Thread(target=remove, daemon=True)
    thread.start()
    config = run_config(source, output, shard_images=SHARD_IMAGES, num_actors=(1, 2))
    code = annotate_dataset(config, engine=FakeEngine(seconds_per_image=SECONDS_PER_IMAGE), stream=sys.stderr)
    print(f"both nodes lost: {lost.is_set()}", file=sys.stderr)
    ray.shutdown()
    cluster.shutdown()
    return code if lost.is_set() else 4


if __name__ == "__main__":
    assert isinstance(sys.stderr, io.TextIOBase)
    sys.exit(main(sys.argv[1], sys.argv[2]))
