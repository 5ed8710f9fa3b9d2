"""Numbers as a report's reader wants them: short, with a unit, a dash where there is none."""

from __future__ import annotations

import math
import re
import time

NONE = "–"

_PATH = re.compile(r"\S*[/\\]\S*")
_HEX_BYTES = re.compile(r"\b(?:[0-9a-f]{2} ){2,}[0-9a-f]{2}\b")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_MAX_PATTERN = 200


def known(value: float | None) -> bool:
    """Whether there is a finite number."""
    return value is not None and math.isfinite(value)


def count(value: float | None) -> str:
    """A whole number with separators: `12,345`."""
    return f"{round(value):,}" if value is not None and known(value) else NONE


def short(value: float | None) -> str:
    """A number in three digits with k, M, G or T: `90.3k`."""
    if value is None or not known(value):
        return NONE
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * limit:
            return f"{_digits(value / limit)}{unit}"
    return _digits(value)


def percent(share: float | None) -> str:
    """A share as per cent; one decimal where it is small: `43%`, `0.4%`."""
    if share is None or not known(share):
        return NONE
    value = 100 * share
    return f"{value:.1f}".removesuffix(".0") + "%" if abs(value) < 9.95 else f"{value:.0f}%"


def seconds(value: float | None) -> str:
    """A duration: `12 ms`, `0.42 s`, `43 s`, `12 min 5 s`, `3 h 12 min`, `2 d 4 h`."""
    if value is None or not known(value):
        return NONE
    if 0 < abs(value) < 0.0995:
        return f"{_digits(1000 * value)} ms"
    if abs(value) < 99.5:
        return f"{_digits(value)} s"
    whole = round(value)
    for size, unit, below, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def hours(value_s: float | None) -> str:
    """Seconds as hours: `1.37 h`, and below a hundredth of an hour as `duration`."""
    if value_s is None or not known(value_s):
        return NONE
    return f"{_digits(value_s / 3600)} h" if value_s >= 360 else seconds(value_s)


def money(value: float | None) -> str:
    """An amount in whatever currency the price was given in: `12.34`; three digits below 1."""
    if value is None or not known(value):
        return NONE
    return f"{value:,.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"


def times(value: float | None) -> str:
    """A factor: `1.84×`."""
    return f"{value:.2f}×" if value is not None and known(value) else NONE


def score(value: float | None) -> str:
    """A score or an IoU: `0.953`."""
    return f"{value:.3f}" if value is not None and known(value) else NONE


def size(num_bytes: float | None) -> str:
    """Bytes in decimal units: `1.2 MB`."""
    return _with_unit(num_bytes, "B")


def operations(tflop: float | None) -> str:
    """Floating-point operations, given in 1e12: `509 GFLOP`."""
    return _with_unit(None if tflop is None else 1e12 * tflop, "FLOP")


def moment(epoch_s: float | None) -> str:
    """A time of day in UTC."""
    if epoch_s is None or not known(epoch_s):
        return NONE
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(epoch_s)) + " UTC"


def pattern(reason: str) -> str:
    """A reason without the paths and numbers in it, so that reasons that differ in nothing else are counted as one."""
    return _NUMBER.sub("N", _HEX_BYTES.sub("…", _PATH.sub("…", reason)))[:_MAX_PATTERN]


def clipped(text: str, length: int) -> str:
    """The text, its end left out where it is longer than `length`."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _with_unit(value: float | None, unit: str) -> str:
    text = short(value)
    if text == NONE:
        return NONE
    return f"{text[:-1]} {text[-1]}{unit}" if text[-1].isalpha() else f"{text} {unit}"


def _digits(value: float) -> str:
    """Three significant digits, none after the point from 100 on."""
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.1e}"
