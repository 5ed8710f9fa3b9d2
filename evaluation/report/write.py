"""`evaluation.html`: which rule keeps how much quality at which cost, in one file that needs nothing else.

Styles, words and swatches are those of a run's report, so that the two look alike.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from litelvlm.evaluation.config import EvaluationConfig
from litelvlm.evaluation.merge import RESULTS_NAME, SUMMARY_NAME
from litelvlm.evaluation.report import sections
from litelvlm.evaluation.report.pictures import RulesExample, draw_examples
from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.report.rendering import render_page
from litelvlm.pipeline.storage.parquet import read_parquet
from litelvlm.pipeline.storage.store import Storage

REPORT_NAME = "evaluation.html"


def write_report(storage: Storage, config: EvaluationConfig, policy: UriPolicy) -> None:
    """Write `evaluation.html` from the tables of an output.

    `policy` says which image URIs may be read for the pictures; one that cannot be read becomes a note.
    """
    rows = read_parquet(storage.read_bytes(RESULTS_NAME)).to_pylist()
    summary = json.loads(storage.read_bytes(SUMMARY_NAME))
    examples = draw_examples(storage, config, policy)
    storage.write_bytes(REPORT_NAME, render(rows, summary, examples, config).encode())


def render(
    rows: list[dict[str, Any]], summary: dict[str, Any], examples: Sequence[RulesExample], config: EvaluationConfig
) -> str:
    """The page. Whatever comes from the data is cleaned of secrets and of what cannot be seen, then escaped."""
    whole = [row for row in rows if row["slice_by"] == "all"]
    values = {
        "header": sections.header(whole, summary),
        "budget_chart": sections.budget_chart(whole),
        "cost_chart": sections.cost_chart(whole),
        "legend": sections.legend(whole),
        "matrix": sections.matrix(whole),
        "contrasts": sections.contrast_rows(summary["contrasts"]),
        "published": sections.beside_published(whole, config.dataset),
        "slices": sections.slices(rows),
        "examples": examples,
        "metrics": sections.metrics(whole),
        "settings": sections.settings(config, summary),
    }
    styles, packages = ["report.css", "evaluation.css"], ["litelvlm.evaluation.report", "litelvlm.pipeline.report"]
    redact = Redactor(config.run.storage_options)
    return render_page("evaluation.html", values, redact=redact, styles=styles, packages=packages)
