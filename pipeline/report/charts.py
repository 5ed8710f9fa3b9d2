"""Charts as inline SVG that a phone, a desktop and a printer can show: no script, no styles of their own.

Marks are placed in per cent of the width and text in pixels, so that a chart may have any width and its text keeps its
size. Colours are classes of `templates/report.css`. Every text is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from litelvlm.pipeline.report import words

_HEIGHT, _TOP, _PLOT = 190, 22, 140
_BASE = _TOP + _PLOT
_ROUND = (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10)
_WIDE = 1000  # units across a plot


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line of a chart: what it shows, its colour class and its values, None where there is none."""

    name: str
    css: str
    values: Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class BarPart:
    """A part of a stacked bar: its label, its colour class and its share of the whole."""

    name: str
    css: str
    share: float


def histogram(counts: Sequence[float], *, label: str, low: str, high: str, css: str = "c-accent") -> Markup:
    """Bars side by side over a range that goes from `low` to `high`."""
    top = nice_ceiling(max(counts, default=0))
    width = 100 / max(len(counts), 1)
    bars = [
        Markup('<rect class="{}" x="{}%" y="{}" width="{}%" height="{}"><title>{}</title></rect>').format(
            css,
            decimal(index * width + 0.06 * width),
            decimal(_BASE - _height(value, top)),
            decimal(0.88 * width),
            decimal(_height(value, top)),
            words.count(value),
        )
        for index, value in enumerate(counts)
        if value > 0
    ]
    return frame([_grid(), *bars, _labels(top, [low, _middle(low, high), high])], label)


def lines(series: Sequence[Series], *, label: str, ticks: Sequence[str], breaks: Sequence[float] = ()) -> Markup:
    """Lines over equal steps, the first one filled. `ticks` are spread below; `breaks` are shares of the width where
    the axis leaves time out."""
    top = nice_ceiling(max((value for one in series for value in one.values if value is not None), default=0))
    shapes = [_path(one, top, filled=index == 0) for index, one in enumerate(series)]
    cuts = [
        Markup('<line class="cut" x1="{0}%" x2="{0}%" y1="{1}" y2="{2}"/>').format(decimal(100 * share), _TOP, _BASE)
        for share in breaks
    ]
    return frame([_grid(), _plot(shapes), *cuts, _labels(top, ticks)], label)


def band(
    low: Sequence[float | None],
    middle: Sequence[float | None],
    high: Sequence[float | None],
    *,
    label: str,
    ticks: Sequence[str],
) -> Markup:
    """A middle line within the range from `low` to `high`."""
    top = nice_ceiling(max((value for value in high if value is not None), default=0))
    known = [(index, a, b) for index, (a, b) in enumerate(zip(low, high, strict=True)) if a is not None]
    step = _WIDE / max(len(high), 1)
    ranges = [
        Markup('<rect class="c-band" x="{}" y="{}" width="{}" height="{}"/>').format(
            decimal(index * step),
            decimal(100 - _share(b, top)),
            decimal(step),
            decimal(_share(b, top) - _share(a, top)),
        )
        for index, a, b in known
    ]
    line = _path(Series(name="median", css="c-accent", values=middle), top, filled=False)
    return frame([_grid(), _plot([*ranges, line]), _labels(top, ticks)], label)


def curve(series: Sequence[Series], *, label: str, ticks: Sequence[str]) -> Markup:
    """Points over the middles of equal steps, one for each of `ticks`, joined by straight lines."""
    top = nice_ceiling(max((value for one in series for value in one.values if value is not None), default=0))
    step = 100 / max(len(ticks), 1)
    shapes: list[Markup] = []
    points: list[Markup] = []
    for one in series:
        known = [((at + 0.5) * step, value) for at, value in enumerate(one.values) if value is not None]
        corners = " ".join(f"{decimal(x * _WIDE / 100)},{decimal(100 - _share(value, top))}" for x, value in known)
        shapes.append(Markup('<polyline class="{} stroke" points="{}"/>').format(one.css, corners))
        points += [
            Markup('<circle class="{}" cx="{}%" cy="{}" r="4"><title>{}: {}</title></circle>').format(
                one.css, decimal(x), decimal(_BASE - _PLOT * value / top), one.name, words.short(value)
            )
            for x, value in known
        ]
    names = [
        Markup('<text class="tick" x="{}%" y="{}" text-anchor="middle">{}</text>').format(
            decimal((at + 0.5) * step), _BASE + 18, tick
        )
        for at, tick in enumerate(ticks)
    ]
    return frame([_grid(), _plot(shapes), *points, *names, _labels(top, [])], label)


def stacked(parts: Sequence[BarPart], *, label: str) -> Markup:
    """One bar, cut into parts whose shares add up to 1."""
    pieces, left = [], 0.0
    for part in parts:
        if part.share > 0:
            pieces.append(
                Markup('<rect class="{}" x="{}%" y="0" width="{}%" height="36"><title>{}: {}</title></rect>').format(
                    part.css, decimal(100 * left), decimal(100 * part.share), part.name, words.percent(part.share)
                )
            )
        left += part.share
    return Markup('<svg class="stacked" width="100%" height="36" role="img" aria-label="{}">{}</svg>').format(
        label, Markup("").join(pieces)
    )


def meter(share: float | None, css: str = "c-accent") -> Markup:
    """A thin bar beside a number in a table; the number says the same, so it is hidden from screen readers."""
    width = min(max(share or 0.0, 0.0), 1.0) if words.known(share) else 0.0
    return Markup(
        '<svg class="meter" width="100%" height="10" aria-hidden="true"><rect class="c-track" width="100%" height="10" '
        'rx="2"/><rect class="{}" width="{}%" height="10" rx="2"/></svg>'
    ).format(css, decimal(100 * width))


def colour_swatch(rgb: tuple[int, int, int]) -> Markup:
    """The same in a colour of its own, of a mask in a picture."""
    return Markup(
        '<svg class="swatch" width="12" height="12" aria-hidden="true">'
        '<rect fill="#{:02x}{:02x}{:02x}" width="12" height="12" rx="2"/></svg>'
    ).format(*rgb)


def swatch(css: str) -> Markup:
    """A small square in a colour, for legends."""
    return Markup(
        '<svg class="swatch" width="12" height="12" aria-hidden="true">'
        '<rect class="{}" width="12" height="12" rx="2"/></svg>'
    ).format(css)


def nice_ceiling(value: float) -> float:
    """The smallest round number that is not below the value, two digits at most; 1 for nothing."""
    if not math.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _ROUND if step * power >= value * (1 - 1e-12))


def frame(parts: Sequence[Markup], label: str, height: int = _HEIGHT) -> Markup:
    """A chart of these parts, so many pixels high; `label` is what a screen reader says."""
    return Markup('<svg class="chart" width="100%" height="{}" role="img" aria-label="{}">{}</svg>').format(
        height, label, Markup("").join(parts)
    )


def _plot(shapes: Sequence[Markup]) -> Markup:
    """Shapes in a square of `_WIDE` by 100 that is stretched over the plot."""
    return Markup(
        '<svg x="0" y="{}" width="100%" height="{}" viewBox="0 0 {} 100" preserveAspectRatio="none">{}</svg>'
    ).format(_TOP, _PLOT, _WIDE, Markup("").join(shapes))


def _grid() -> Markup:
    rows = [
        Markup('<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(decimal(_BASE - share * _PLOT))
        for share in (0.5, 1.0)
    ]
    base = Markup('<line class="axis" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(_BASE)
    return Markup("").join([*rows, base])


def _labels(top: float, ticks: Sequence[str]) -> Markup:
    """Texts, drawn last so that no mark hides them: values at the left, `ticks` spread below."""
    values = [
        Markup('<text class="tick" x="0" y="{}">{}</text>').format(
            decimal(_BASE - share * _PLOT - 4), words.short(share * top)
        )
        for share in (0.5, 1.0)
    ]
    return Markup("").join([*values, _range_labels(ticks)])


def _range_labels(ticks: Sequence[str]) -> Markup:
    last = max(len(ticks) - 1, 1)
    anchors = ["start", *["middle"] * (len(ticks) - 2), "end"]
    labels = [
        Markup('<text class="tick" x="{}%" y="{}" text-anchor="{}">{}</text>').format(
            decimal(100 * index / last), _BASE + 18, anchors[index], tick
        )
        for index, tick in enumerate(ticks)
    ]
    return Markup("").join(labels)


def _middle(low: str, high: str) -> str:
    try:
        return f"{(float(low) + float(high)) / 2:g}"
    except ValueError:
        return ""


def _path(series: Series, top: float, *, filled: bool) -> Markup:
    """Steps from value to value; a gap where there is none."""
    step = _WIDE / max(len(series.values), 1)
    runs: list[list[tuple[float, float, float]]] = [[]]
    for index, value in enumerate(series.values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((index * step, (index + 1) * step, 100 - _share(value, top)))
    shapes = []
    for run in filter(None, runs):
        points = " ".join(f"{decimal(a)},{decimal(y)} {decimal(b)},{decimal(y)}" for a, b, y in run)
        if filled:
            corners = f"{decimal(run[0][0])},100 {points} {decimal(run[-1][1])},100"
            shapes.append(Markup('<polygon class="{} fill" points="{}"/>').format(series.css, corners))
        shapes.append(Markup('<polyline class="{} stroke" points="{}"/>').format(series.css, points))
    return Markup("").join(shapes)


def _height(value: float, top: float) -> float:
    return max(_PLOT * value / top, 1.5)  # what is there can be seen, however small


def _share(value: float | None, top: float) -> float:
    return 100 * (value or 0.0) / top


def decimal(value: float) -> str:
    """Two places at most, as SVG reads them."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
