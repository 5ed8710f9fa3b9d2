"""Curves of quality as inline SVG in the manner of `pipeline.report.charts`: places in per cent of the width, text in
pixels, colours by class. Every text is escaped here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from litelvlm.pipeline.report import words
from litelvlm.pipeline.report.charts import decimal, frame, nice_ceiling

_HEIGHT, _TOP, _PLOT = 360, 16, 300
_BASE = _TOP + _PLOT
_LEFT, _RIGHT = 6.0, 97.0  # per cent of the width, between which points lie
_STEPS = 5
_DODGE = 0.35  # per cent between whiskers of neighbouring curves at one place


@dataclass(frozen=True, kw_only=True)
class Point:
    """A place on a curve: `x` in the axis's unit, `y` from 0 to 1 with its interval if there is one, and its words."""

    x: float
    y: float
    low: float | None
    high: float | None
    title: str


@dataclass(frozen=True, kw_only=True)
class RuleCurve:
    """A rule's points from left to right, and its colour class."""

    name: str
    css: str
    points: Sequence[Point]


def curves(
    data: Sequence[RuleCurve],
    *,
    label: str,
    ticks: Sequence[tuple[float, str]],
    logarithmic: bool,
    reference: float | None = None,
) -> Markup:
    """Curves with whiskers. `ticks` are places on the axis and what stands below them; `reference` is a height to
    compare with, dashed."""
    places = [point.x for curve in data for point in curve.points] + [x for x, _ in ticks]
    scale = _Axis(min(places), max(places), logarithmic=logarithmic)
    heights = _heights(data)
    bottom, top = heights[0], heights[-1]
    shapes = [_grid(heights), *(_tick(scale.place(x), text) for x, text in ticks)]
    if reference is not None:
        y = _y(reference, bottom, top)
        shapes.append(Markup('<line class="cut" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(y))
    for index, curve in enumerate(data):
        shift = _DODGE * (index - (len(data) - 1) / 2) if logarithmic else 0.0
        shapes.append(_curve(curve, scale, bottom, top, shift))
    return frame(shapes, label, _HEIGHT)


def cost_ticks(most: float) -> list[tuple[float, str]]:
    """Round places in seconds from 0 to above the largest cost, named in milliseconds."""
    top = nice_ceiling(1000 * most)
    return [(top * step / 4000, f"{top * step / 4:g} ms") for step in range(5)]


class _Axis:
    def __init__(self, low: float, high: float, *, logarithmic: bool) -> None:
        self._of = math.log if logarithmic else float
        self._low, self._spread = self._of(low), self._of(high) - self._of(low)

    def place(self, x: float) -> float:
        """Per cent of the width."""
        share = (self._of(x) - self._low) / self._spread if self._spread else 0.5
        return _LEFT + share * (_RIGHT - _LEFT)


def _heights(data: Sequence[RuleCurve]) -> list[float]:
    """Round heights of the grid's lines, from below the lowest value to above the highest."""
    points = [point for curve in data for point in curve.points]
    lowest = min((point.y if point.low is None else point.low for point in points), default=0.0)
    highest = max((point.y if point.high is None else point.high for point in points), default=1.0)
    step = nice_ceiling((highest - lowest) / _STEPS or 0.01)
    first, last = math.floor(lowest / step), max(math.ceil(highest / step), math.floor(lowest / step) + 1)
    return [step * number for number in range(first, last + 1)]


def _y(value: float, bottom: float, top: float) -> str:
    return decimal(_BASE - _PLOT * (value - bottom) / (top - bottom))


def _grid(heights: Sequence[float]) -> Markup:
    parts = []
    for value in heights:
        y = _y(value, heights[0], heights[-1])
        parts.append(
            Markup(
                '<line class="{0}" x1="0" x2="100%" y1="{1}" y2="{1}"/>'
                '<text class="tick" x="0" y="{1}" dy="-3">{2}</text>'
            ).format("axis" if value == heights[0] else "grid", y, f"{value:.3g}")
        )
    return Markup("").join(parts)


def _tick(place: float, text: str) -> Markup:
    return Markup('<text class="tick" x="{}%" y="{}" text-anchor="middle">{}</text>').format(
        decimal(place), _BASE + 20, text
    )


def _curve(curve: RuleCurve, scale: _Axis, bottom: float, top: float, shift: float) -> Markup:
    marks = []
    places = [scale.place(point.x) + shift for point in curve.points]
    for (left, first), (right, second) in pairwise(zip(places, curve.points, strict=True)):
        marks.append(
            Markup('<line class="{} stroke" x1="{}%" y1="{}" x2="{}%" y2="{}"/>').format(
                curve.css,
                decimal(left),
                _y(first.y, bottom, top),
                decimal(right),
                _y(second.y, bottom, top),
            )
        )
    for place, point in zip(places, curve.points, strict=True):
        if point.low is not None and point.high is not None:
            marks.append(
                Markup('<line class="{0} whisker" x1="{1}%" x2="{1}%" y1="{2}" y2="{3}"/>').format(
                    curve.css, decimal(place), _y(point.low, bottom, top), _y(point.high, bottom, top)
                )
            )
        marks.append(
            Markup('<circle class="{}" cx="{}%" cy="{}" r="4"><title>{}</title></circle>').format(
                curve.css, decimal(place), _y(point.y, bottom, top), f"{curve.name}: {point.title}"
            )
        )
    return Markup("").join(marks)


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """A value with its interval: `0.734 (0.701–0.765)`."""
    shown = words.score(value)
    return f"{shown} ({low:.3f}–{high:.3f})" if low is not None and high is not None else shown
