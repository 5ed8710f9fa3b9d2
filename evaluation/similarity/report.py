"""`similarity.html`: histograms inside and outside, AUROC of the records, and pictures, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from litelvlm.evaluation.similarity.examples import HeatMapExample
from litelvlm.evaluation.similarity.records import SCORES
from litelvlm.evaluation.similarity.summary import SimilarityTally, in_words
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.report import words
from litelvlm.pipeline.report.charts import Series, histogram, lines, swatch
from litelvlm.pipeline.report.rendering import render_page

_LIMIT = 3  # standard deviations to each side in the chart
_BINS = 20  # of AUROC
_NAMES = {"product": "product, as rules compare", "cosine": "cosine"}


def render(
    summary: dict[str, Any], tally: SimilarityTally, examples: Sequence[HeatMapExample], redact: Redactor
) -> str:
    """The page. Whatever comes from the data is cleaned of secrets and of what cannot be seen, then escaped."""
    first = summary["scores"].get(SCORES[0])
    values = {
        "header": _header(summary, first),
        "rows": [_row(_NAMES[name], figures) for name, figures in summary["scores"].items()],
        "patches": _patches(tally) if first else "",
        "legend": [(swatch("c-accent"), "inside"), (swatch("c-second"), "outside")],
        "aurocs": _aurocs(tally) if first else "",
        "examples": examples,
        "settings": _settings(summary),
        "convention": summary["convention"],
    }
    packages = ["litelvlm.evaluation.similarity", "litelvlm.evaluation.report", "litelvlm.pipeline.report"]
    return render_page(
        "similarity.html", values, redact=redact, styles=["report.css", "evaluation.css"], packages=packages
    )


def _header(summary: dict[str, Any], first: dict[str, Any] | None) -> dict[str, str]:
    left_out = {
        "without a target": summary["no_target"],
        "without a patch inside, or outside": summary["no_patch"],
        "failed": summary["failed"],
    }
    told = ", ".join(f"{words.count(number)} {reason}" for reason, number in left_out.items() if number)
    return {
        "dataset": summary["dataset"],
        "model": f"{summary['model']} {summary['model_revision']}",
        "sentence": in_words(first) if first else "There is nothing to compare.",
        "counts": f"{words.count(summary['scored'])} phrases on {words.count(summary['images'])} images"
        + (f"; left out: {told}." if told else "."),
    }


def _row(name: str, figures: dict[str, Any]) -> list[str]:
    return [
        name,
        _number(figures["mean_inside"]),
        _number(figures["mean_outside"]),
        _with_interval(figures, "difference"),
        _with_interval(figures, "auroc"),
        _number(figures["auroc_pooled"]),
        _with_interval(figures, "share_inside_less"),
    ]


def _with_interval(figures: dict[str, Any], name: str) -> str:
    text, interval = _number(figures[name]), figures[f"{name}_interval"]
    return text if interval is None else f"{text} ({_number(interval[0])} to {_number(interval[1])})"


def _number(value: float | None) -> str:
    return words.NONE if value is None or not words.known(value) else f"{value:.3f}".replace("-", "−")


def _patches(tally: SimilarityTally) -> Markup:
    inside, outside = tally.pooled[SCORES[0]].shares(_LIMIT)
    series = [
        Series(name="inside", css="c-accent", values=inside),
        Series(name="outside", css="c-second", values=outside),
    ]
    ticks = [f"{step}".replace("-", "−") for step in range(-_LIMIT, _LIMIT + 1)]
    return lines(series, label="Share of patches by similarity, inside and outside", ticks=ticks)


def _aurocs(tally: SimilarityTally) -> Markup:
    counts, _ = np.histogram(tally.aurocs(SCORES[0]), bins=_BINS, range=(0, 1))
    return histogram(counts.tolist(), label="Phrases by AUROC", low="0", high="1")


def _settings(summary: dict[str, Any]) -> list[tuple[str, str]]:
    names = ("model", "model_revision", "clip", "device", "text", "question", "inside", "num_patches")
    return [(name.replace("_", " "), str(summary[name])) for name in names if summary[name] is not None]
