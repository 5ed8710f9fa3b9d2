"""What a person sees while a run goes on: rates, failures, ETA and cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TextIO

from litelvlm.pipeline.measure.row_bar import RowBar
from litelvlm.pipeline.measure.throughput import throughput_row
from litelvlm.pipeline.schemas import STATUS_FAILED
from litelvlm.pipeline.shards.markers import ShardMarker


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
        self._bar = RowBar(rows_total, rows_done, stream=stream, clock=clock)
        self._gpu_price, self._gpus_per_actor = gpu_price, gpus_per_actor
        self.images = self.records = self.failed = 0
        self.gpu_s = 0.0

    def add(self, marker: ShardMarker) -> dict[str, Any]:
        """A shard was committed. Returns its row of the throughput table."""
        row = throughput_row(marker, gpus_per_actor=self._gpus_per_actor, gpu_price=self._gpu_price)
        self.images += row["images"] or 0
        self.records += row["phrases"]
        self.failed += row[STATUS_FAILED]
        self.gpu_s += row["gpu_s"]
        self._bar.advance(row["rows"], self._figures())
        return row

    def close(self) -> None:
        """Show where it ended."""
        self._bar.close(self._figures())

    @property
    def rows(self) -> int:
        """Of this session."""
        return self._bar.rows

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start of this session."""
        return self._bar.elapsed_s

    @property
    def eta_s(self) -> float | None:
        """Seconds left; None while nothing is known."""
        return self._bar.eta_s

    @property
    def cost(self) -> float | None:
        """Of this session so far; None without a price."""
        return None if self._gpu_price is None else self.gpu_s / 3600 * self._gpu_price

    def _figures(self) -> str:
        seconds = max(self.elapsed_s, 1e-6)
        text = f"{self.images / seconds:.1f} images/s  {self.records / seconds:.1f} phrases/s  failed {self.failed}"
        return text if self.cost is None else f"{text}  cost {self.cost:.2f}"
