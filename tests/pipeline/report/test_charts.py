"""Charts: well formed whatever they are given, marks as large as their values."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litelvlm.pipeline.report import charts


@given(st.floats(1e-9, 1e15))
def test_an_axis_ends_a_little_above_what_it_shows(value: float) -> None:
    top = charts.nice_ceiling(value)
    assert value * (1 - 1e-9) <= top <= 2 * value


@given(st.text(max_size=30), st.lists(st.integers(0, 10**9), max_size=30))
def test_charts_are_well_formed_whatever_their_labels_say(label: str, counts: list[int]) -> None:
    label = "".join(char for char in label if char.isprintable())
    for chart in (
        charts.histogram(counts, label=label, low=label, high=label),
        charts.lines([charts.Series(name=label, css="c", values=counts)], label=label, ticks=[label, label]),
        charts.stacked([charts.BarPart(name=label, css="c", share=0.5)] * 2, label=label),
    ):
        assert ElementTree.fromstring(chart).get("aria-label") == label


def test_bars_are_as_high_as_their_counts() -> None:
    chart = ElementTree.fromstring(charts.histogram([0, 50, 100], label="", low="0", high="1"))
    heights = [float(bar.get("height")) for bar in chart.iter("rect")]
    assert heights == pytest.approx([70.0, 140.0])
    assert [text.text for text in chart.iter("text")] == ["50", "100", "0", "0.5", "1"]


def test_a_gap_in_a_line_stays_a_gap() -> None:
    series = charts.Series(name="", css="c", values=[1.0, None, 2.0])
    chart = ElementTree.fromstring(charts.lines([series], label="", ticks=["", ""], breaks=[0.25]))
    assert len(list(chart.iter("polyline"))) == 2
    assert [line.get("x1") for line in chart.iter("line") if line.get("class") == "cut"] == ["25%"]


@pytest.mark.parametrize(
    ("value", "ceiling"), [(0.0, 1.0), (-3.0, 1.0), (float("inf"), 1.0), (1.0, 1.0), (1.1, 1.2), (61, 80), (850, 1000)]
)
def test_axes_end_at_round_numbers(value: float, ceiling: float) -> None:
    assert charts.nice_ceiling(value) == pytest.approx(ceiling)


def test_the_parts_of_a_stacked_bar_follow_each_other_and_nothing_is_no_part() -> None:
    parts = [charts.BarPart(name=name, css=name, share=share) for name, share in (("a", 0.25), ("b", 0.0), ("c", 0.75))]
    found = [
        (bar.get("class"), bar.get("x"), bar.get("width")) for bar in svg(charts.stacked(parts, label="")).iter("rect")
    ]
    assert found == [("a", "0%", "25%"), ("c", "25%", "75%")]


@pytest.mark.parametrize(
    ("share", "width"), [(0.5, "50%"), (-1.0, "0%"), (7.0, "100%"), (None, "0%"), (float("nan"), "0%")]
)
def test_a_meter_stays_within_its_track(share: float | None, width: str) -> None:
    track, bar = svg(charts.meter(share)).iter("rect")
    assert (track.get("width"), bar.get("width")) == ("100%", width)


def test_a_band_reaches_from_the_lowest_to_the_highest() -> None:
    chart = svg(charts.band([1.0, None], [2.0, None], [3.0, None], label="", ticks=["0", "1"]))
    [area] = [mark for mark in chart.iter("rect") if mark.get("class") == "c-band"]
    assert [float(area.get(name, "")) for name in ("x", "width", "y", "height")] == pytest.approx([0, 500, 0, 66.67])


def test_markup_in_what_a_chart_is_given_stays_text() -> None:
    hostile = '"><script>alert(1)</script>'
    drawn = charts.stacked([charts.BarPart(name=hostile, css=hostile, share=1.0)], label=hostile)
    assert "<script" not in drawn
    assert svg(drawn).find(".//title").text == f"{hostile}: 100%"


def svg(drawn: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawn)


def test_points_of_a_curve_stand_over_their_ticks_and_gaps_are_left_out() -> None:
    series = [charts.Series(name="<a>", css="c-accent", values=[1.0, None, 4.0])]
    drawn = str(charts.curve(series, label="x", ticks=["1", "2", "<3>"]))
    assert re.findall(r'cx="([\d.]+)%" cy="([\d.]+)"', drawn) == [("16.67", "127"), ("83.33", "22")]
    assert 'points="166.67,75 833.33,0"' in drawn
    assert "<a>" not in drawn
    assert "<3>" not in drawn
