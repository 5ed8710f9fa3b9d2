"""The certificate as a page: what may be accepted, on what evidence, and what more reviews would bring."""

from __future__ import annotations

from typing import Any

import numpy as np

from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.report import charts, words
from litelvlm.pipeline.report.rendering import render_page
from litelvlm.pipeline.review.certify import Verdict
from litelvlm.pipeline.review.guarantee import Sample
from litelvlm.pipeline.review.queue_page import PAGE_PACKAGES
from litelvlm.pipeline.storage.store import Storage

PAGE_NAME = "report.html"
_BINS, _STEPS = 10, 20


def write_page(output: Storage, certificate: dict[str, Any], verdict: Verdict, *, title: str) -> None:
    """Write `report.html`."""
    values = {
        "title": title,
        "sentence": _sentence(certificate),
        "cards": _cards(certificate),
        "holds": certificate["holds"],
        "remarks": certificate["remarks"],
        "strata": [_stratum(name, one) for name, one in certificate["strata"].items()],
        "curves": _curves(verdict.sample),
        "more": [
            (words.count(one["num_sampled"]), words.count(one["num_accepted"])) for one in certificate["more_reviews"]
        ],
        "lineage": [(name.replace("_", " "), str(value)) for name, value in certificate["lineage"].items()],
    }
    page = render_page("accepted.html", values, redact=Redactor({}), styles=["report.css"], packages=PAGE_PACKAGES)
    output.write_bytes(PAGE_NAME, page.encode())


def _sentence(certificate: dict[str, Any]) -> str:
    counts = certificate["records"]
    return (
        f"{words.count(counts['reviewed'])} reviewed, {words.count(counts['accepted'])} accepted unseen, "
        f"{words.count(counts['open'])} open."
    )


def _cards(certificate: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    sample, effort = certificate["sample"], certificate["reviewers"]
    confidence = certificate["confidence"]
    certain = f"with confidence {words.percent(confidence)}" if confidence else "on average"
    cards = [
        (
            "Accepted unseen",
            words.count(certificate["num_accepted"]),
            [
                f"of {words.count(certificate['num_masks'])} masks",
                f"at most {words.percent(certificate['max_error'])} wrong, {certain}",
                f"wrong is: below IoU {certificate['target_iou']:g}, or rejected",
            ],
        ),
        (
            "Errors of all masks",
            words.percent(sample["error_rate"]),
            [
                f"{sample['num_errors']} of {sample['num_sampled']} in the random sample",
                f"{words.percent(sample['error_rate_low'])} to {words.percent(sample['error_rate_high'])}",
            ],
        ),
        ("Reviewed", words.count(effort["num_items"]), [f"{one}: {n}" for one, n in effort["verdicts"].items()]),
    ]
    if effort["seconds_per_item"] is not None:
        lines = [f"{words.seconds(effort['seconds_per_item'])} an item"]
        cards.append(("Reviewers' time", words.seconds(effort["lead_time_s"]), lines))
    return cards


def _stratum(name: str, one: dict[str, Any]) -> tuple[str, ...]:
    return (
        name,
        words.count(one["num_masks"]),
        words.count(one["num_sampled"]),
        words.count(one["num_errors"]),
        words.percent(one["error_rate"]),
        f"{words.percent(one['error_rate_low'])}–{words.percent(one['error_rate_high'])}",
        words.count(one["num_accepted"]),
    )


def _curves(sample: Sample) -> dict[str, Any] | None:
    if not len(sample.score):
        return None
    right = ~sample.error
    bins = np.clip((sample.score * _BINS).astype(int), 0, _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    by_bin = [float(right[bins == at].mean()) if counts[at] else None for at in range(_BINS)]
    scores = [float(sample.score[bins == at].mean()) if counts[at] else None for at in range(_BINS)]
    series = [
        charts.Series(name="share right", css="c-accent", values=by_bin),
        charts.Series(name="mean score", css="c-second", values=scores),
    ]
    order = np.argsort(-sample.score, kind="stable")
    precision = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    at = np.maximum(1, np.arange(1, _STEPS + 1) * len(order) // _STEPS) - 1
    coverage = [charts.Series(name="share right", css="c-accent", values=precision[at].tolist())]
    return {
        "legend": [(charts.swatch(one.css), one.name) for one in series],
        "reliability": charts.lines(series, label="Share of right masks by score", ticks=["0", "0.5", "1"]),
        "coverage": charts.lines(coverage, label="Share of right masks by coverage", ticks=["the best", "half", "all"]),
    }
