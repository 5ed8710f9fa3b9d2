"""Shares of the CPUs with which no number of actors starves decoding, and nodes that are left out."""

from __future__ import annotations

import random

import pytest

from litelvlm.pipeline.footing import Footing, Node, StageCpus


def nodes(*cpus: float) -> list[Node]:
    return [
        Node(node_id=f"n{number}", address=f"10.0.0.{number}", cpus=one, gpus=0.0) for number, one in enumerate(cpus)
    ]


def test_with_room_enough_stages_ask_for_what_they_always_do() -> None:
    assert StageCpus.within(nodes(16, 8), 4) == StageCpus(actor=1.0, decode=0.75, commit=0.25)
    assert StageCpus.within(nodes(0), 4) == StageCpus()  # nothing is known yet


@pytest.mark.parametrize("seed", range(50))
def test_wherever_actors_are_put_some_node_decodes_and_commits(seed: int) -> None:
    rng = random.Random(seed)
    machines, actors = nodes(*(rng.randint(1, 9) for _ in range(rng.randint(1, 5)))), rng.randint(1, 40)
    cpus = StageCpus.within(machines, actors)
    free = [node.cpus for node in machines]
    for _ in range(actors):
        able = [number for number, left in enumerate(free) if left >= cpus.actor - 1e-9]
        assert able, "the actors themselves find no room"
        free[rng.choice(able)] -= cpus.actor
    assert max(free) >= cpus.decode + cpus.commit - 1e-9
    assert len({cpus.actor, cpus.decode, cpus.commit}) == 3


def test_a_node_that_is_left_out_gets_no_actor() -> None:
    assert Footing(device="cpu", cpus=StageCpus()).actor_options == {}
    options = Footing(device="cpu", cpus=StageCpus(), left_out=("a", "b")).actor_options
    assert options == {"label_selector": {"ray.io/node-id": "!in(a,b)"}}
