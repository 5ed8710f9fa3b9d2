"""`evaluation.html`: which rule keeps how much quality at which cost, in one file that needs nothing else.

Styles, words and swatches are those of a run's report, so that the two look alike.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

import jinja2
import pyarrow.parquet as pq
from markupsafe import Markup

from evaluation import report_sections as sections
from evaluation.config import EvaluationConfig
from evaluation.merge import RESULTS_NAME, SUMMARY_NAME
from evaluation.pictures import Example, draw_examples
from pipeline.fetch import UriPolicy
from pipeline.overlay import visible
from pipeline.redact import Redactor
from pipeline.storage import Storage

REPORT_NAME = "evaluation.html"
_TEMPLATES = jinja2.ChoiceLoader(
    [jinja2.PackageLoader("evaluation", "templates"), jinja2.PackageLoader("pipeline", "templates")]
)


def write_report(storage: Storage, config: EvaluationConfig, policy: UriPolicy) -> None:
    """Write `evaluation.html` from the tables of an output.

    `policy` says which image URIs may be read for the pictures; one that cannot be read becomes a note.
    """
    rows = pq.read_table(io.BytesIO(storage.read_bytes(RESULTS_NAME))).to_pylist()
    summary = json.loads(storage.read_bytes(SUMMARY_NAME))
    examples = draw_examples(storage, config, policy)
    storage.write_bytes(REPORT_NAME, render(rows, summary, examples, config).encode())


def render(
    rows: list[dict[str, Any]], summary: dict[str, Any], examples: Sequence[Example], config: EvaluationConfig
) -> str:
    """The page. Whatever comes from the data is cleaned of secrets and of what cannot be seen, then escaped."""
    redact = Redactor(config.run.storage_options)

    def clean(value: Any) -> Any:
        return visible(redact(value)) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = jinja2.Environment(
        loader=_TEMPLATES, autoescape=True, undefined=jinja2.StrictUndefined, finalize=clean, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    css = "".join(_TEMPLATES.get_source(environment, name)[0] for name in ("report.css", "evaluation.css"))
    whole = [row for row in rows if row["slice_by"] == "all"]
    return environment.get_template("evaluation.html").render(
        css=Markup(css),
        css_hash=Markup(base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()),
        header=sections.header(whole, summary),
        budget_chart=sections.budget_chart(whole),
        cost_chart=sections.cost_chart(whole),
        legend=sections.legend(whole),
        matrix=sections.matrix(whole),
        contrasts=sections.contrast_rows(summary["contrasts"]),
        published=sections.beside_published(whole, config.dataset),
        slices=sections.slices(rows),
        examples=examples,
        metrics=sections.metrics(whole),
        settings=sections.settings(config, summary),
    )
