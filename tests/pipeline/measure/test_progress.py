"""What the terminal shows while a run goes on, on a clock that the tests turn."""

from __future__ import annotations

import io
from dataclasses import replace

from litelvlm.pipeline.measure.progress import Progress
from litelvlm.pipeline.measure.row_bar import RowBar
from litelvlm.pipeline.shards.markers import ShardMarker
from tests.pipeline.samples import shard_marker


class Clock:
    def __init__(self) -> None:
        self.seconds = 50.0

    def __call__(self) -> float:
        return self.seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def marker(number: int, *, rows: int = 10, held_s: float = 36.0) -> ShardMarker:
    """Of a shard of 10 images and 20 phrases that held its device for 36 s."""
    one = shard_marker(shard_id=f"s{number}", seconds={"startup": 6.0, "annotate": held_s - 6.0})
    facts = replace(one.facts, images=rows)
    return replace(one, index=number, rows=rows, records=2 * rows, ok=2 * rows - 1, failed=1, facts=facts)


def test_a_line_shows_rates_eta_and_cost_of_this_session_alone() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress(
        rows_total=100, rows_done=50, gpu_price=100.0, gpus_per_actor=0.5, stream=stream, clock=clock
    )  # fmt: skip
    clock.seconds += 20
    progress.add(marker(0))
    assert stream.getvalue() == "rows 60/100  0.5 images/s  1.0 phrases/s  failed 1  cost 0.50  ETA 01:20\n"
    clock.seconds += 10
    progress.add(marker(1))
    last = stream.getvalue().splitlines()[-1]
    assert last == "rows 70/100  0.7 images/s  1.3 phrases/s  failed 2  cost 1.00  ETA 00:30"


def test_nothing_is_foretold_before_anything_is_known() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress(rows_total=100, rows_done=50, gpu_price=None, stream=stream, clock=clock)
    assert progress.eta_s is None
    clock.seconds += 3
    progress.close()
    assert stream.getvalue() == "rows 50/100  0.0 images/s  0.0 phrases/s  failed 0  ETA unknown\n"


def test_the_bar_shows_the_same_figures() -> None:
    clock, stream = Clock(), Terminal()
    progress = Progress(rows_total=100, rows_done=50, gpu_price=100.0, stream=stream, clock=clock)
    clock.seconds += 20
    progress.add(marker(0))
    progress.close()
    shown = stream.getvalue().split("\r")[-1]
    assert "60/100 rows" in shown
    assert "0.5 images/s  1.0 phrases/s  failed 1  cost 1.00  ETA 01:20" in shown


def test_work_of_unknown_length_has_no_eta_and_few_lines() -> None:
    clock, stream = Clock(), io.StringIO()
    bar = RowBar(None, stream=stream, clock=clock)
    for _ in range(25):
        clock.seconds += 1
        bar.advance(2, "3 of them odd")
    bar.close()
    assert stream.getvalue() == "rows 20  3 of them odd\nrows 40  3 of them odd\n"
    terminal = Terminal()
    bar = RowBar(None, stream=terminal, clock=clock)
    bar.advance(7, "3 of them odd")
    bar.close()
    assert "7 rows" in terminal.getvalue().split("\r")[-1]
    assert "ETA" not in terminal.getvalue()
