"""What all stages share: the optimiser, the learning rate over time, and the log of the curve."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

WARM_UP_STEPS = 100
LOG_STEPS = 50


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


class Curve:
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
