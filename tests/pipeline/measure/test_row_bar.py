"""How far work is: lines now and then, an estimate from this session's own rate."""

from __future__ import annotations

import io

import pytest

from litelvlm.pipeline.measure.row_bar import LINE_EVERY_S, RowBar


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_lines_come_at_first_then_every_ten_seconds_and_at_the_end(clock: Clock) -> None:
    stream = io.StringIO()
    bar = RowBar(100, stream=stream, clock=clock)
    for _ in range(5):
        clock.seconds += 0.4 * LINE_EVERY_S
        bar.advance(10, "1 images/s")
    assert [line.split("  ")[0] for line in lines(stream)] == ["rows 10/100", "rows 40/100"]
    bar.close("all")
    assert lines(stream)[-1].startswith("rows 50/100  all  ETA ")


def test_starting_up_is_left_out_of_the_estimate_once_it_can_be(clock: Clock) -> None:
    bar = RowBar(100, stream=io.StringIO(), clock=clock)
    assert bar.eta_s is None
    clock.seconds += 60  # the model is loaded
    bar.advance(10, "")
    assert bar.eta_s == pytest.approx(90 * 60 / 10)
    clock.seconds += 5
    bar.advance(10, "")
    assert bar.eta_s == pytest.approx(80 * 5 / 10)
    assert bar.elapsed_s == 65.0


def test_what_earlier_sessions_did_is_shown_but_is_not_this_ones_speed(clock: Clock) -> None:
    stream = io.StringIO()
    bar = RowBar(100, done=90, stream=stream, clock=clock)
    clock.seconds += 10
    bar.advance(5, "x")
    assert bar.eta_s == pytest.approx(5 * 10 / 5)
    assert lines(stream) == ["rows 95/100  x  ETA 00:10"]


def test_without_a_total_there_is_neither_share_nor_estimate(clock: Clock) -> None:
    stream = io.StringIO()
    bar = RowBar(None, stream=stream, clock=clock)
    bar.advance(5, "x")
    assert lines(stream) == []
    clock.seconds += LINE_EVERY_S
    bar.advance(5, "x")
    assert lines(stream) == ["rows 10  x"]
    assert bar.eta_s is None
    bar.close()
    assert len(lines(stream)) == 1


def test_a_terminal_gets_a_bar(clock: Clock) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    bar = RowBar(10, done=5, stream=stream, clock=clock)
    bar.advance(5, "2 images/s")
    bar.close()
    assert "10/10 rows" in stream.getvalue()
    assert "100%" in stream.getvalue()
