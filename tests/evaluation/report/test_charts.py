"""Curves: places worked out by hand."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import pytest

from litelvlm.evaluation.report.charts import Point, RuleCurve, cost_ticks, curves, interval


def _point(x: float, y: float, spread: float | None = None) -> Point:
    low, high = (None, None) if spread is None else (y - spread, y + spread)
    return Point(x=x, y=y, low=low, high=high, title=f"{x:g} tokens")


def _drawn(*data: RuleCurve, logarithmic: bool = True, reference: float | None = None) -> ElementTree.Element:
    places: Sequence[tuple[float, str]] = [(16.0, "16"), (256.0, "256")]
    return ElementTree.fromstring(
        curves(data, label="<a & b>", ticks=places, logarithmic=logarithmic, reference=reference)
    )


def _curve(*points: Point, name: str = "paper") -> RuleCurve:
    return RuleCurve(name=name, css="r-1", points=points)


@pytest.mark.parametrize(("logarithmic", "middle"), [(True, "51.5%"), (False, "24.2%")])
def test_points_lie_between_the_ends_of_their_axis(logarithmic: bool, middle: str) -> None:
    """64 is half way from 16 to 256 in logarithms, a fifth of it in numbers; places go from 6 to 97 per cent."""
    svg = _drawn(_curve(_point(16, 0.0), _point(64, 0.5), _point(256, 1.0)), logarithmic=logarithmic)
    assert [mark.get("cx") for mark in svg.iter("circle")] == ["6%", middle, "97%"]
    assert [mark.get("cy") for mark in svg.iter("circle")] == ["316", "166", "16"]
    lines = [line for line in svg.iter("line") if "stroke" in str(line.get("class"))]
    assert [(line.get("x1"), line.get("x2")) for line in lines] == [("6%", middle), (middle, "97%")]


def test_the_grid_holds_whiskers_and_a_reference() -> None:
    svg = _drawn(_curve(_point(16, 0.5, 0.1), _point(256, 0.7)), reference=0.6)
    ticks = [text.text for text in svg.iter("text") if text.get("x") == "0"]
    assert (ticks[0], ticks[-1], len(ticks)) == ("0.36", "0.72", 7)  # from 0.4 to 0.7 in steps of 0.06
    whisker = next(line for line in svg.iter("line") if "whisker" in str(line.get("class")))
    assert float(whisker.get("y1") or 0) > float(whisker.get("y2") or 0)
    cut = next(line for line in svg.iter("line") if line.get("class") == "cut")
    assert 16 < float(cut.get("y1") or 0) < 316


def test_whiskers_of_neighbours_stand_apart() -> None:
    points = [_point(64, 0.5, 0.1)]
    svg = _drawn(*(RuleCurve(name=str(index), css="r", points=points) for index in range(3)))
    assert [mark.get("cx") for mark in svg.iter("circle")] == ["51.15%", "51.5%", "51.85%"]


def test_one_value_and_no_value_are_charts_too() -> None:
    for data in ([_curve(_point(16, 0.5))], []):
        ticks = [text.text for text in _drawn(*data).iter("text") if text.get("x") == "0"]
        assert len(ticks) >= 2
        assert len(set(ticks)) == len(ticks)
    ElementTree.fromstring(curves([_curve(_point(9, 0.5))], label="one place", ticks=[(9, "9")], logarithmic=True))


def test_texts_are_escaped() -> None:
    svg = _drawn(_curve(_point(16, 0.5), name="<script>"))
    assert svg.get("aria-label") == "<a & b>"
    assert [title.text for title in svg.iter("title")] == ["<script>: 16 tokens"]


@pytest.mark.parametrize(
    ("most", "names"), [(0.037, ["0 ms", "10 ms", "20 ms", "30 ms", "40 ms"]), (0, ["0 ms", "0.25 ms", "0.5 ms"])]
)
def test_costs_are_told_in_milliseconds(most: float, names: list[str]) -> None:
    ticks = cost_ticks(most)
    assert [name for _, name in ticks][: len(names)] == names
    assert ticks[1][0] == pytest.approx(float(names[1].split()[0]) / 1000)
    assert ticks[-1][0] >= most


def test_an_interval_is_told_where_there_is_one() -> None:
    assert interval(0.7341, 0.7006, 0.765) == "0.734 (0.701–0.765)"
    assert interval(0.5, None, None) == "0.500"
    assert interval(None, None, None) == "–"
