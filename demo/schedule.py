"""What all stages share: the loop, the optimiser, the learning rate over time, and the log of the curve."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from litelvlm.demo.team import Team

WARM_UP_STEPS = 100
LOG_STEPS = 50
SAVE_SECONDS = 180


def optimizer_for(params: Iterable[torch.nn.Parameter], rate: float) -> torch.optim.AdamW:
    """AdamW that decays matrices only."""
    params = list(params)
    groups = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": 0.02},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def cosine_rate(peak: float, step: int, progress: float) -> float:
    """Warm-up over the first steps, then a cosine over the wall-clock progress from 0 to 1."""
    return peak * min(1, (step + 1) / WARM_UP_STEPS) * max(0.01, 0.5 * (1 + math.cos(math.pi * progress)))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


class Training:
    """The loop of a stage, bounded by time.

    Args:
        name: the stage's, in the log.
        curve: CSV file for the curve.
        minutes: wall-clock time; the learning rate follows a cosine over it.
        team: who trains along; gradients are averaged over its members.
        save: called by the leader every few minutes and at the end.
    """

    def __init__(
        self,
        name: str,
        curve: Path,
        *,
        minutes: float,
        team: Team | None = None,
        save: Callable[[], None] | None = None,
    ) -> None:
        self.team = team or Team()
        self._minutes, self._save = minutes, save if self.team.leads else None
        self._curve = LossCurve(name, curve if self.team.leads else None)

    def steps(self, params: Iterable[torch.nn.Parameter], rate: float) -> Iterator[float]:
        """The progress before every step, from 0 to 1. Each is to end with `learn`."""
        self._params = list(params)
        self._optimizer = optimizer_for(self._params, rate)
        start = last_save = time.monotonic()
        while (progress := self.team.agree((time.monotonic() - start) / (60 * self._minutes))) < 1:
            set_rate(self._optimizer, cosine_rate(rate, self._curve.step, progress))
            yield progress
            if self._save and time.monotonic() - last_save > SAVE_SECONDS:
                self._save()
                last_save = time.monotonic()
        if self._save:
            self._save()

    def learn(self, loss: Tensor, losses: dict[str, Tensor]) -> None:
        """Take a step down the loss; `losses` are for the curve."""
        self._optimizer.zero_grad()
        loss.backward()
        self.team.average_gradients(self._params)
        torch.nn.utils.clip_grad_norm_(self._params, 1.0)
        self._optimizer.step()
        self._curve.add(losses)


class LossCurve:
    """Averages of the losses over every 50 steps, printed and kept as CSV.

    Args:
        name: the stage's name in the log.
        path: the CSV file; None keeps the log silent.
    """

    def __init__(self, name: str, path: Path | None) -> None:
        self.name, self.path = name, path
        self.step = 0
        self._start = time.monotonic()
        self._window: list[dict[str, float]] = []
        self._rows: list[dict[str, float]] = []

    def add(self, losses: dict[str, Tensor]) -> None:
        """Counts a step; a loss may join later than the others."""
        self._window.append({name: value.item() for name, value in losses.items()})
        self.step += 1
        if self.step % LOG_STEPS == 0:
            if self.path is not None:
                self._log(self.path)
            self._window = []

    def _log(self, path: Path) -> None:
        means = {name: _mean([entry[name] for entry in self._window if name in entry]) for name in self._window[-1]}
        seconds = time.monotonic() - self._start
        self._rows.append({"step": self.step, "seconds": round(seconds), **means})
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, dict.fromkeys(name for row in self._rows for name in row))
            writer.writeheader()
            writer.writerows(self._rows)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
        print(f"{self.name} step {self.step}, {seconds:.0f} s, {seconds / self.step:.2f} s/step: {shown}", flush=True)


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 5)
