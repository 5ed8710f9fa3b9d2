"""A cluster whose head has no CPU gets its nodes after the run has begun; one of them cannot read the model.

`python -m tests.faults.late_nodes SOURCE OUTPUT`
"""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from ray.cluster_utils import Cluster

from litelvlm.pipeline import preflight
from litelvlm.pipeline.run import annotate_dataset
from tests.conftest import ROOT
from tests.fakes import FakeEngine
from tests.faults.harness import SHARD_IMAGES
from tests.pipeline.samples import run_config

BARE = "LITELVLM_TEST_NODE_WITHOUT_MODEL"
WAITING = "waiting for resources: an actor needs CPU; the cluster has 0 CPU and 0 GPU"


class EngineOfFiles(FakeEngine):
    """A model that is not on every node."""

    def revision(self) -> str:
        if BARE in os.environ:
            raise FileNotFoundError("/models/glamm/config.json: no such file")
        return super().revision()

    def annotator(self, num_threads: int | None) -> Any:
        self.revision()
        return super().annotator(num_threads)


def main(source: str, output: str) -> int:
    """Run; let nodes join once the run has said that it waits for them."""
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
    preflight.LINE_S = 2.0
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(
        address=cluster.address,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    config = run_config(source, output, shard_images=SHARD_IMAGES, num_actors=2, ray_address=cluster.address)
    said = io.StringIO()
    with ThreadPoolExecutor(1) as pool:  # Ray's nodes can be started in the main thread only
        run = pool.submit(annotate_dataset, config, engine=EngineOfFiles(), stream=said)
        while said.getvalue().count(WAITING) < 2 and not run.done():
            time.sleep(0.05)
        claimed = os.listdir(output)  # an empty directory shows that it can be written
        preflight._POLL_S = 15.0  # both join before it looks again
        time.sleep(2.0)
        cluster.add_node(num_cpus=3, env_vars={BARE: "1"})
        cluster.add_node(num_cpus=3)
        code = run.result()
    ray.shutdown()
    cluster.shutdown()
    print(said.getvalue(), file=sys.stderr)
    assert not claimed, "the output is claimed before there is room"
    assert said.getvalue().count("no actor is started on node") == 1
    assert "/models/glamm/config.json: no such file" in said.getvalue()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
