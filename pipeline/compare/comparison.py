"""`compare.json`: the two runs, how far they agree, and what each cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from litelvlm.pipeline.compare.costs import RunCosts
from litelvlm.pipeline.compare.tally import Figures
from litelvlm.pipeline.contracts import Contract

SUMMARY_NAME = "compare.json"


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """A run that is compared: where it lies, what it was, and what it cost. `num_retain_tokens` is None for all."""

    path: str
    fingerprint: str
    model: str
    model_revision: str
    rule: str
    num_retain_tokens: int | None
    layout: str
    precision: str
    records: int
    costs: RunCosts


@dataclass(frozen=True, kw_only=True)
class Comparison(Contract):
    """`compare.json`.

    Attributes:
        a, b: the two runs.
        agree_iou: masks that overlap less disagree.
        records: `both` runs have; of these `compared`; `only_a` and `only_b` have.
        left_out: reason -> records that both have and that are not compared.
        statuses: records that both have by the status in each, `{a, b, records}`.
        overall: of all that were compared.
        by_answer, by_category, by_size, by_words: the same of groups.
        iou_bins: records with a mask in both by IoU, equal bins over [0, 1].
    """

    indent: ClassVar[int | None] = 1

    a: RunFacts
    b: RunFacts
    agree_iou: float
    records: dict[str, int]
    left_out: dict[str, int]
    statuses: list[dict[str, Any]]
    overall: Figures
    by_answer: dict[str, Figures]
    by_category: dict[str, Figures]
    by_size: dict[str, Figures]
    by_words: dict[str, Figures]
    iou_bins: list[int]
