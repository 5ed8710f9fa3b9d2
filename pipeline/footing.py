"""What the executions of a run stand on: the device, each stage's share of the CPUs, the nodes that take part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_LEAST_CPUS = 0.01


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine of the cluster and what it has in all."""

    node_id: str
    address: str
    cpus: float
    gpus: float


@dataclass(frozen=True, kw_only=True)
class StageCpus:
    """Logical CPUs that a task of each stage asks for, all different: Ray Data fuses stages that ask for the same."""

    actor: float = 1.0
    decode: float = 0.75
    commit: float = 0.25

    @classmethod
    def within(cls, nodes: Sequence[Node], num_actors: int) -> StageCpus:
        """Shares with which decoding and committing find room however many actors there are.

        A CPU of every node is kept aside (half of a node with one). By the pigeonhole principle some node then has as
        much to spare, wherever Ray puts the actors.
        """
        with_cpus = [node.cpus for node in nodes if node.cpus]
        if not with_cpus:
            return cls()
        aside = min(1.0, sum(with_cpus) / len(with_cpus) / 2)
        share = (sum(with_cpus) - aside * len(with_cpus)) / num_actors
        actor = max(_LEAST_CPUS, min(1.0, math.floor(share * 100) / 100))
        decode, commit = round(0.75 * aside, 4), round(0.25 * aside, 4)
        return cls(actor=actor - _LEAST_CPUS / 2 if actor in (decode, commit) else actor, decode=decode, commit=commit)


@dataclass(frozen=True, kw_only=True)
class Footing:
    """What the executions of a run stand on: the device, CPUs of the stages, and nodes that no actor is to be on."""

    device: str
    cpus: StageCpus
    left_out: tuple[str, ...] = ()

    @property
    def actor_options(self) -> dict[str, Any]:
        """Arguments of a Ray actor that keep it off the nodes that are left out."""
        return {"label_selector": {"ray.io/node-id": f"!in({','.join(self.left_out)})"}} if self.left_out else {}
