"""Before a run claims its output: what it asks of the cluster against what there is or may come, and its model where it
will run. What can never fit is a mistake, told with the numbers; what may come is waited for, with a line now and then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from litelvlm.pipeline.cluster import choose_device, is_elsewhere
from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.errors import RunError, UsageError
from litelvlm.pipeline.footing import Footing, Node, StageCpus
from litelvlm.pipeline.stages.engine import Engine

LINE_S = 30.0  # between lines that say what is waited for
_POLL_S = 1.0
Say = Callable[[str], None]


def nodes_of_cluster() -> list[Node]:
    """The machines that are there now."""
    return [
        Node(
            node_id=found["NodeID"],
            address=found["NodeManagerAddress"],
            cpus=float(found["Resources"].get("CPU", 0.0)),
            gpus=float(found["Resources"].get("GPU", 0.0)),
        )
        for found in ray.nodes()
        if found["Alive"]
    ]


def prepare(config: RunConfig, engine: Engine, say: Say) -> Footing:
    """Wait until an actor has room, then look at the model on every node that may hold one.

    Raises:
        UsageError: the run can never fit, or no node can read the model.
        RunError: `--wait-for-resources` is over.
    """
    device, nodes = wait_for_room(config, say)
    holders = [node for node in nodes if (node.gpus if device == "cuda" else node.cpus)]
    bad = _unfit(engine, holders) if is_elsewhere(config.cluster) else {}
    for node in holders:
        if node.node_id in bad:
            say(f"no actor is started on node {node.address}: {bad[node.node_id]}")
    if holders and len(bad) == len(holders):
        raise UsageError(f"no node of the cluster can read the model; {holders[0].address}: {bad[holders[0].node_id]}")
    return Footing(
        device=device, cpus=StageCpus.within(nodes, config.cluster.num_actors[1]), left_out=tuple(sorted(bad))
    )


def without(footing: Footing, node_id: str) -> Footing | None:
    """What is left once a node has shown that it cannot hold the model; None where no other can."""
    left_out = {*footing.left_out, node_id}
    nodes = [node for node in nodes_of_cluster() if node.node_id not in left_out]
    if not any(node.gpus if footing.device == "cuda" else node.cpus for node in nodes):
        return None
    return replace(footing, left_out=tuple(sorted(left_out)))


def wait_for_room(
    config: RunConfig,
    say: Say,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[str, list[Node]]:
    """The device and the nodes, once one actor fits somewhere.

    Raises:
        UsageError: it never will: the cluster cannot grow so large.
        RunError: `--wait-for-resources` is over.
    """
    started, told = clock(), -math.inf
    while True:
        nodes, device = nodes_of_cluster(), choose_device(config)
        lack = _lack(config, device, nodes)
        if lack is None:
            return device, nodes
        if not _may_come(config, device):
            raise UsageError(lack)
        waited, bound = clock() - started, config.cluster.wait_for_resources
        if bound is not None and waited >= bound:
            raise RunError(f"{lack}; waited {waited:.0f} s, as --wait-for-resources allows")
        if clock() - told >= LINE_S:
            say(f"waiting for resources: {lack}")
            told = clock()
        sleep(_POLL_S)


def _lack(config: RunConfig, device: str, nodes: Sequence[Node]) -> str | None:
    """What is missing for a single actor and for decoding beside it, with the numbers; None where nothing is."""
    gpus = config.cluster.gpus_per_actor if device == "cuda" else 0.0
    cpus = sum(node.cpus for node in nodes)
    if cpus > 0 and any(node.gpus >= gpus for node in nodes):
        return None
    found = sum(node.gpus for node in nodes)
    asked = f"{gpus:g} GPU on one node and CPU" if gpus else "CPU"
    largest = f", {max((node.gpus for node in nodes), default=0.0):g} on one node" if gpus else ""
    return f"an actor needs {asked}; the cluster has {cpus:g} CPU and {found:g} GPU{largest}"


def _may_come(config: RunConfig, device: str) -> bool:
    """Whether machines may join: never on this one; elsewhere as far as an autoscaler, if there is one, goes."""
    if not is_elsewhere(config.cluster):
        return False
    most = _most_of_autoscaler()
    gpus = config.cluster.gpus_per_actor if device == "cuda" else 0.0
    return most is None or (most.get("GPU", 0.0) >= gpus and most.get("CPU", 0.0) > 0)


def _most_of_autoscaler() -> dict[str, float] | None:
    """What the cluster may grow to; None where nothing is known of that."""
    from ray._private.state import state

    found = state.get_max_resources_from_cluster_config()
    return None if found is None else {name: float(amount) for name, amount in found.items()}


def _unfit(engine: Engine, nodes: Sequence[Node]) -> dict[str, str]:
    """Node id -> why it cannot hold this model."""
    wanted, look = engine.revision(), ray.remote(num_cpus=0, max_retries=2)(_revision)
    asked = {
        node.node_id: look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node.node_id, soft=False)
        ).remote(engine)
        for node in nodes
    }
    bad = {}
    for node_id, answer in asked.items():
        try:
            revision, mistake = ray.get(answer)
        except ray.exceptions.RayError as error:
            revision, mistake = None, f"it does not answer ({type(error).__name__})"
        if mistake or revision != wanted:
            bad[node_id] = mistake or f"it holds another model: revision {revision}, not {wanted}"
    return bad


def _revision(engine: Engine) -> tuple[str | None, str | None]:
    """In a task: the model's revision, or why it cannot be read."""
    try:
        return engine.revision(), None
    except (OSError, ValueError) as error:
        return None, str(error)
