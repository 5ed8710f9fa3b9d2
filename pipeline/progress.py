"""What a person sees while a run goes on: a bar on a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

from pipeline.records import STATUS_FAILED
from pipeline.throughput import throughput_row

LINE_EVERY_S = 10.0
_BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} rows [{elapsed}]{postfix}"


class Progress:
    """Counts committed shards. Rates, ETA and cost are those of this session; resumed work is shown, but not credited.

    Args:
        rows_total, rows_done: of the run, and those that earlier sessions have done.
        gpu_price: per GPU and hour; without one no cost is shown.
        gpus_per_actor: for the cost.
        stream: where to; standard error if not given.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        rows_total: int,
        rows_done: int,
        gpu_price: float | None,
        gpus_per_actor: float = 1.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._clock = stream or sys.stderr, clock
        self._total, self._resumed = rows_total, rows_done
        self._gpu_price, self._gpus_per_actor = gpu_price, gpus_per_actor
        self.rows = self.images = self.records = self.failed = 0
        self.gpu_s = 0.0
        self._started = self._last_line = clock()
        self._first: tuple[float, int] | None = None  # when the first shard was committed, and its rows
        terminal = self._stream.isatty()
        self._bar = (
            tqdm(total=rows_total, initial=rows_done, file=self._stream, bar_format=_BAR, dynamic_ncols=True)
            if terminal
            else None
        )

    def add(self, marker: dict[str, Any]) -> dict[str, Any]:
        """A shard was committed. Returns its row of the throughput table."""
        row = throughput_row(marker, gpus_per_actor=self._gpus_per_actor, gpu_price=self._gpu_price)
        self.rows += row["rows"]
        self.images += row["images"] or 0
        self.records += row["phrases"]
        self.failed += row[STATUS_FAILED]
        self.gpu_s += row["gpu_s"]
        now, is_first = self._clock(), self._first is None
        self._first = self._first or (now, self.rows)
        if self._bar is not None:
            self._bar.set_postfix_str(self._figures(), refresh=False)
            self._bar.update(row["rows"])
        elif is_first or now - self._last_line >= LINE_EVERY_S:
            self._line()
        return row

    def close(self) -> None:
        """Show where it ended."""
        if self._bar is not None:
            self._bar.close()
        else:
            self._line()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start of this session."""
        return self._clock() - self._started

    @property
    def eta_s(self) -> float | None:
        """Seconds left at this session's rate, starting up left out once it can be; None while nothing is known."""
        if self._first is None:
            return None
        left = self._total - self._resumed - self.rows
        first_at, first_rows = self._first
        if self.rows > first_rows and self._clock() > first_at:
            return left * (self._clock() - first_at) / (self.rows - first_rows)
        return left * self.elapsed_s / self.rows if self.rows else None

    @property
    def cost(self) -> float | None:
        """Of this session so far; None without a price."""
        return None if self._gpu_price is None else self.gpu_s / 3600 * self._gpu_price

    def _line(self) -> None:
        self._last_line = self._clock()
        print(f"rows {self._resumed + self.rows}/{self._total}  {self._figures()}", file=self._stream, flush=True)

    def _figures(self) -> str:
        seconds = max(self.elapsed_s, 1e-6)
        text = f"{self.images / seconds:.1f} images/s  {self.records / seconds:.1f} phrases/s  failed {self.failed}"
        text += f"  ETA {_duration(self.eta_s)}"
        return text if self.cost is None else f"{text}  cost {self.cost:.2f}"


def _duration(seconds: float | None) -> str:
    """As hours, minutes and seconds."""
    if seconds is None:
        return "unknown"
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
