"""How far long work is: a bar on a terminal, a plain line every ten seconds everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

LINE_EVERY_S = 10.0
_BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} rows [{elapsed}]{postfix}"
_ENDLESS_BAR = "{n_fmt} rows [{elapsed}]{postfix}"


class RowBar:
    """Rows that are done.

    Args:
        total: of the work; None where it is not known, which shows neither share nor ETA.
        done: by earlier sessions, shown but not credited to this one's rate.
        stream: where to; standard error if not given.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        total: int | None,
        done: int = 0,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._clock = stream or sys.stderr, clock
        self._total, self._resumed = total, done
        self.rows = 0
        self._started = self._last_line = clock()
        self._first: tuple[float, int] | None = None  # when the first rows were done, and how many
        style = _BAR if total is not None else _ENDLESS_BAR
        self._bar = (
            tqdm(total=total, initial=done, file=self._stream, bar_format=style, dynamic_ncols=True)
            if self._stream.isatty()
            else None
        )

    def advance(self, rows: int, figures: str) -> None:
        """Count rows and show `figures` beside them, on a bar at once, as a line when it is time for one."""
        self.rows += rows
        now, is_first = self._clock(), self._first is None
        self._first = self._first or (now, self.rows)
        if self._bar is not None:
            self._bar.set_postfix_str(self._with_eta(figures), refresh=False)
            self._bar.update(rows)
        elif (is_first and self._total is not None) or now - self._last_line >= LINE_EVERY_S:
            self._line(figures)

    def close(self, figures: str | None = None) -> None:
        """Show where it ended; without `figures` no line says so."""
        if self._bar is not None:
            self._bar.close()
        elif figures is not None:
            self._line(figures)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start of this session."""
        return self._clock() - self._started

    @property
    def eta_s(self) -> float | None:
        """Seconds left at this session's rate, starting up left out once it can be; None while nothing is known."""
        if self._first is None or self._total is None:
            return None
        left = self._total - self._resumed - self.rows
        first_at, first_rows = self._first
        if self.rows > first_rows and self._clock() > first_at:
            return left * (self._clock() - first_at) / (self.rows - first_rows)
        return left * self.elapsed_s / self.rows if self.rows else None

    def _line(self, figures: str) -> None:
        self._last_line = self._clock()
        of = "" if self._total is None else f"/{self._total}"
        print(f"rows {self._resumed + self.rows}{of}  {self._with_eta(figures)}", file=self._stream, flush=True)

    def _with_eta(self, figures: str) -> str:
        if self._total is None:
            return figures
        eta_s = self.eta_s
        return f"{figures}  ETA {'unknown' if eta_s is None else tqdm.format_interval(eta_s)}"
