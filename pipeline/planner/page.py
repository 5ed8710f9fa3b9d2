"""What a token budget's labels cost, as a page: the curve of labels for the money, devices and reviewers together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from litelvlm.pipeline.planner.reviews import COLUMNS, ReviewPlan, review_row
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.report import charts
from litelvlm.pipeline.report.rendering import render_page

_COLOURS = ("c-accent", "c-second", "c-busy")
_PACKAGES = ("litelvlm.pipeline.planner", "litelvlm.pipeline.report")
_NUMERIC = [1, 2, 3, 4, 5, 6]
_ALL = "all"


def render_reviews(found: Sequence[ReviewPlan], price: float, currency: str) -> str:
    """The page of plans with their reviewers, whose hour has this price."""
    ranked = sorted(found, key=lambda one: -one.labels_per_unit)
    ticks = _budgets(found)
    lines = _series(ranked, ticks)
    errors = sorted({f"{one.rate.max_error:.0%} at IoU {one.rate.target_iou:g}" for one in found})
    values = {
        "sentence": f"Reviewers at {price:g} {currency} an hour. Errors among what is accepted unseen: at most "
        f"{', '.join(errors) or 'none'}.",
        "currency": currency,
        "chart": charts.curve(lines, label=f"Labels per {currency} by tokens kept", ticks=ticks) if found else None,
        "legend": [(charts.swatch(one.css), one.name) for one in lines],
        "num_hidden": len({_name(one) for one in found}) - len(lines),
        "columns": COLUMNS,
        "rows": [review_row(one) for one in ranked],
        "numeric": _NUMERIC,
    }
    return render_page("plan.html", values, redact=Redactor({}), styles=["report.css"], packages=_PACKAGES)


def _budgets(found: Sequence[ReviewPlan]) -> list[str]:
    """The budgets, ascending, all tokens last."""
    tokens = {one.rate.tokens for one in found}
    return [str(one) for one in sorted(one for one in tokens if one is not None)] + [_ALL] * (None in tokens)


def _series(ranked: Sequence[ReviewPlan], ticks: Sequence[str]) -> list[charts.Series]:
    """Lines of the best layouts, rules and devices."""
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for one in ranked:
        tick = _ALL if one.rate.tokens is None else str(one.rate.tokens)
        values[_name(one)].setdefault(tick, one.labels_per_unit)
    return [
        charts.Series(name=name, css=css, values=[by_tick.get(tick) for tick in ticks])
        for css, (name, by_tick) in zip(_COLOURS, values.items(), strict=False)
    ]


def _name(one: ReviewPlan) -> str:
    setting = one.plan.forecast.setting
    return f"{setting.layout}, {setting.rule if setting.pruned else 'unpruned'}, {one.plan.offer.name}"
