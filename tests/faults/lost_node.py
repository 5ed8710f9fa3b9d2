"""A cluster of a head and two nodes loses both nodes, one after the other, and gets new ones.

`python -m tests.faults.lost_node SOURCE OUTPUT`
"""

from __future__ import annotations

import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from litelvlm.pipeline.run import annotate_dataset
from tests.conftest import ROOT
from tests.fakes import FakeEngine
from tests.faults.harness import SHARD_IMAGES
from tests.pipeline.samples import run_config

MARKERS = (2, 5)  # shards that are done when a node goes
SECONDS_PER_IMAGE = 0.5


def main(source: str, output: str) -> int:
    """Run; in between, take away one node after the other and put a new one in its place."""
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=3) for _ in MARKERS]
    ray.init(
        address=cluster.address,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    config = run_config(source, output, shard_images=SHARD_IMAGES, num_actors=(1, 2))
    engine = FakeEngine(seconds_per_image=SECONDS_PER_IMAGE)
    with ThreadPoolExecutor(1) as pool:  # Ray's nodes can be started in the main thread only
        run = pool.submit(annotate_dataset, config, engine=engine, stream=sys.stderr)
        lost = 0
        for victim, markers in zip(nodes, MARKERS, strict=True):
            while _num_markers(output) < markers and not run.done():
                time.sleep(0.01)
            lost += not run.done()
            cluster.add_node(num_cpus=3)
            cluster.remove_node(victim, allow_graceful=False)
        code = run.result()
    ray.shutdown()
    cluster.shutdown()
    assert lost == len(nodes), "the run ended before its nodes did"
    return code


def _num_markers(output: str) -> int:
    return len(list(Path(output).glob("_done/*.json")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
