"""What a person sees while a run goes on: a bar on a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from tqdm import tqdm

from pipeline.records import STATUS_FAILED

LINE_EVERY_S = 10.0


class Progress:
    """Counts committed shards. Rates are those of this session; resumed work is shown, but not credited."""

    def __init__(
        self, *, rows_total: int, rows_done: int, gpu_price: float | None, stream: TextIO | None = None
    ) -> None:
        self._stream = stream or sys.stderr
        self._total, self._resumed = rows_total, rows_done
        self._gpu_price = gpu_price
        self.rows = self.images = self.records = self.failed = 0
        self.gpu_s = 0.0
        self._started = time.monotonic()
        self._first_commit: float | None = None
        self._last_line = self._started
        terminal = self._stream.isatty()
        self._bar = tqdm(total=rows_total, initial=rows_done, unit="row", file=self._stream) if terminal else None

    def add(self, marker: dict[str, Any], *, gpus_per_actor: float) -> None:
        """A shard was committed."""
        self.rows += marker["rows"]
        self.images += marker["facts"].get("images", 0)
        self.records += marker["records"]
        self.failed += marker[STATUS_FAILED]
        self.gpu_s += marker["seconds"].get("annotate", 0.0) * gpus_per_actor
        if self._bar is not None:
            self._bar.update(marker["rows"])
            self._bar.set_postfix_str(self._rates())
        elif time.monotonic() - self._last_line >= LINE_EVERY_S or self._first_commit is None:
            self._line()
        self._first_commit = self._first_commit or time.monotonic()

    def close(self) -> None:
        """Show where it ended."""
        if self._bar is not None:
            self._bar.close()
        else:
            self._line()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start of this session."""
        return time.monotonic() - self._started

    def _line(self) -> None:
        self._last_line = time.monotonic()
        done = self._resumed + self.rows
        print(f"rows {done}/{self._total}  {self._rates()}  ETA {self._eta()}", file=self._stream, flush=True)

    def _rates(self) -> str:
        seconds = max(self.elapsed_s, 1e-6)
        text = f"{self.images / seconds:.1f} images/s  {self.records / seconds:.1f} phrases/s  failed {self.failed}"
        if self._gpu_price is not None:
            text += f"  cost {self.gpu_s / 3600 * self._gpu_price:.2f}"
        return text

    def _eta(self) -> str:
        left = self._total - self._resumed - self.rows
        if not self.rows:
            return "unknown"
        seconds = int(left * self.elapsed_s / self.rows)
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
