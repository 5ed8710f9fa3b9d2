"""People beside GPUs: what a setting's labels cost until somebody answers for all of them, by measured reviews."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from litelvlm.pipeline.planner.forecast import Job
from litelvlm.pipeline.planner.plans import Plan
from litelvlm.pipeline.planner.runs import Setting
from litelvlm.pipeline.storage.store import Storage

_CERTIFICATE = "certificate.json"
COLUMNS = ("setting", "accepted unseen", "reviewed", "reviewer hours", "reviewers", "devices", "labels per unit")


@dataclass(frozen=True, kw_only=True)
class ReviewRate:
    """What reviews of a run have shown of its setting.

    Attributes:
        layout, rule, tokens: of the run; `tokens` is None where it kept all.
        accepted_share: of its masks, with a score that may be accepted unseen.
        seconds_per_item: that people took for a mask.
        max_error, confidence, target_iou: of the certificate.
    """

    layout: str
    rule: str
    tokens: int | None
    accepted_share: float
    seconds_per_item: float
    max_error: float
    confidence: float | None
    target_iou: float

    def is_of(self, setting: Setting) -> bool:
        """Whether a planned setting is that of the run."""
        if self.layout != setting.layout:
            return False
        if not setting.pruned:
            return self.tokens is None or self.rule == setting.rule
        return (self.rule, self.tokens) == (setting.rule, setting.tokens)


@dataclass(frozen=True, kw_only=True)
class ReviewPlan:
    """A plan with its reviewers: hours of theirs, and money in the plan's currency."""

    plan: Plan
    rate: ReviewRate
    labels: float
    reviewer_hours: float
    reviewer_cost: float

    @property
    def labels_per_unit(self) -> float:
        """Labels that somebody answers for, for a unit of the currency."""
        return self.labels / max(self.plan.cost + self.reviewer_cost, 1e-9)


def read_rates(paths: Sequence[str], options: dict[str, Any], seconds_per_item: float | None) -> list[ReviewRate]:
    """What `review.py accept` has written, of each path. `seconds_per_item` takes the place of what tools told.

    Raises:
        ValueError: there is no certificate, or no time.
    """
    return [_rate(path, options, seconds_per_item) for path in paths]


def with_reviewers(job: Job, plans: Sequence[Plan], rates: Sequence[ReviewRate], price: float) -> list[ReviewPlan]:
    """The plans whose settings have been reviewed, with their reviewers at a price per hour.

    Every label is either accepted unseen or looked at, each in the measured time.
    """
    labels = job.images * job.phrases_per_image
    found = []
    for plan in plans:
        for rate in rates:
            if rate.is_of(plan.forecast.setting):
                hours = labels * (1 - rate.accepted_share) * rate.seconds_per_item / 3600
                found.append(
                    ReviewPlan(plan=plan, rate=rate, labels=labels, reviewer_hours=hours, reviewer_cost=hours * price)
                )
    return found


def describe_reviews(found: Sequence[ReviewPlan], price: float, currency: str) -> str:
    """A table of plans with their reviewers, the most labels for the money first."""
    if not found:
        return (
            "no planned setting is that of an accepted run: plan the layout, the rule and the tokens that were reviewed"
        )
    ranked = sorted(found, key=lambda one: -one.labels_per_unit)
    rows = [COLUMNS, *(review_row(one) for one in ranked)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    told = {f"at most {one.rate.max_error:g} wrong at IoU {one.rate.target_iou:g}" for one in found}
    head = f"with reviewers at {price:g} {currency} an hour; what is accepted unseen: {'; '.join(sorted(told))}"
    return "\n".join([head, *table])


def reviews_json(found: Sequence[ReviewPlan]) -> list[dict[str, Any]]:
    """The same as JSON values."""
    return [
        {
            "setting": str(one.plan.forecast.setting),
            "gpu": one.plan.offer.name,
            "rate": asdict(one.rate),
            "labels": one.labels,
            "reviewer_hours": one.reviewer_hours,
            "reviewer_cost": one.reviewer_cost,
            "device_cost": one.plan.cost,
            "labels_per_unit": one.labels_per_unit,
        }
        for one in found
    ]


def review_row(one: ReviewPlan) -> tuple[str, ...]:
    """Cells for `COLUMNS`."""
    return (
        str(one.plan.forecast.setting),
        f"{one.rate.accepted_share:.1%}",
        f"{one.labels * (1 - one.rate.accepted_share):,.0f}",
        f"{one.reviewer_hours:,.1f}",
        f"{one.reviewer_cost:,.2f}",
        f"{one.plan.cost:,.2f} ({one.plan.offer.name})",
        f"{one.labels_per_unit:,.1f}",
    )


def _rate(path: str, options: dict[str, Any], seconds_per_item: float | None) -> ReviewRate:
    try:
        content = json.loads(Storage(path, options).read_bytes(_CERTIFICATE))
        lineage, seconds = content["lineage"], content["reviewers"]["seconds_per_item"]
        rate = ReviewRate(
            layout=lineage["layout"],
            rule=lineage["rule"],
            tokens=lineage["num_retain_tokens"],
            accepted_share=float(content["accepted_share"]),
            seconds_per_item=float(seconds_per_item or seconds or 0.0),
            max_error=float(content["max_error"]),
            confidence=content["confidence"],
            target_iou=float(content["target_iou"]),
        )
    except FileNotFoundError as error:
        raise ValueError(f"--accepted {path}: there is no {_CERTIFICATE}; `review.py accept` writes it") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"--accepted {path}: {_CERTIFICATE} is damaged, or of another version") from error
    if not rate.seconds_per_item:
        raise ValueError(f"--accepted {path}: its review tool told no times; give --seconds-per-item")
    return rate
