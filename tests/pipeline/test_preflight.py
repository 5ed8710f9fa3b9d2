"""Room for an actor: there, waited for in words, or never; and nodes that cannot hold the model."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from litelvlm.pipeline import preflight
from litelvlm.pipeline.errors import RunError, UsageError
from litelvlm.pipeline.footing import Node
from litelvlm.pipeline.preflight import nodes_of_cluster, prepare, wait_for_room
from tests.fakes import FakeEngine
from tests.pipeline.samples import run_config

SMALL = Node(node_id="a", address="10.0.0.1", cpus=4.0, gpus=0.0)
GPUS = Node(node_id="b", address="10.0.0.2", cpus=8.0, gpus=2.0)


class Clock:
    """Seconds that pass while somebody sleeps; the cluster grows at the given ones."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, grows: dict[int, list[Node]]) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        monkeypatch.setattr(preflight, "nodes_of_cluster", lambda: grows[max(t for t in grows if t <= self.now)])
        monkeypatch.setattr(ray, "cluster_resources", dict)

    def wait(self, **settings: Any) -> tuple[str, list[Node]]:
        config = run_config("in.parquet", "out", ray_address="auto", **settings)
        return wait_for_room(config, self.lines.append, clock=lambda: self.now, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def _no_autoscaler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_most_of_autoscaler", lambda: None)


def test_room_that_is_there_is_taken_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {0: [SMALL, GPUS]})
    assert clock.wait(device="cuda") == ("cuda", [SMALL, GPUS])
    assert clock.lines == []


def test_what_may_come_is_waited_for_with_a_line_each_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {0: [], 40: [SMALL], 70: [SMALL, GPUS]})
    assert clock.wait(device="cuda", gpus_per_actor=2)[1] == [SMALL, GPUS]
    asked = "waiting for resources: an actor needs 2 GPU on one node and CPU; the cluster has"
    assert clock.lines == [
        f"{asked} 0 CPU and 0 GPU, 0 on one node",
        f"{asked} 0 CPU and 0 GPU, 0 on one node",
        f"{asked} 4 CPU and 0 GPU, 0 on one node",
    ]


def test_waiting_has_an_end_if_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {0: []})
    with pytest.raises(RunError, match="0 CPU and 0 GPU; waited 90 s, as --wait-for-resources allows"):
        clock.wait(device="cpu", wait_for_resources=90)


@pytest.mark.parametrize("most", [{"CPU": 64.0}, {"CPU": 64.0, "GPU": 1.0}])
def test_what_no_autoscaler_can_bring_is_a_mistake_with_the_numbers(
    monkeypatch: pytest.MonkeyPatch, most: dict[str, float]
) -> None:
    monkeypatch.setattr(preflight, "_most_of_autoscaler", lambda: most)
    with pytest.raises(UsageError, match="needs 2 GPU on one node and CPU; the cluster has 4 CPU and 0 GPU"):
        Clock(monkeypatch, {0: [SMALL]}).wait(device="cuda", gpus_per_actor=2)


@pytest.mark.usefixtures("local_ray")
def test_a_node_that_cannot_read_the_model_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (here,) = nodes_of_cluster()
    lines: list[str] = []
    config = run_config("in.parquet", "out", ray_address="auto", num_actors=8)
    footing = prepare(config, FakeEngine(), lines.append)
    assert (footing.device, footing.left_out, lines) == ("cpu", (), [])
    assert 8 * footing.cpus.actor + footing.cpus.decode + footing.cpus.commit <= here.cpus
    other = Node(node_id="e" * 56, address="10.0.0.9", cpus=4.0, gpus=0.0)
    monkeypatch.setattr(preflight, "nodes_of_cluster", lambda: [here, other])
    assert prepare(config, FakeEngine(), lines.append).left_out == (other.node_id,)
    assert lines[0].startswith("no actor is started on node 10.0.0.9: it does not answer (")
    monkeypatch.setattr(preflight, "_revision", lambda engine: (None, "model: no such directory: /models/x"))
    with pytest.raises(UsageError, match=rf"no node .* can read the model; {here.address}: model: no such directory"):
        prepare(config, FakeEngine(), lines.append)
