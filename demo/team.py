"""Several single-threaded processes that train one model on different scenes.

On few or busy cores they are much faster than one process with several threads, which meet at a barrier in every
operation.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn


class Team:
    """One member's view of the processes that train together; a team of one talks to nobody."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def leads(self) -> bool:
        """Whether this member writes files and logs."""
        return self.rank == 0

    def agree(self, value: float) -> float:
        """The leader's value."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        distributed.broadcast(shared, src=0)
        return float(shared)

    def average_gradients(self, params: Iterable[torch.nn.Parameter]) -> None:
        """Replaces every gradient by the members' mean."""
        if self.size == 1:
            return
        grads = [param.grad for param in params if param.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        distributed.all_reduce(flat)
        for grad, part in zip(grads, flat.div_(self.size).split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(part.view_as(grad))


def _member(rank: int, size: int, port: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    work(*arguments, Team(rank, size))
    distributed.destroy_process_group()


def run_team(size: int, work: Callable[..., None], *arguments: Any) -> None:
    """Calls `work(*arguments, team)` in `size` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(_member, args=(size, port, work, arguments), nprocs=size)
