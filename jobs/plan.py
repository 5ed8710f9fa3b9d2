"""What the next run will take: GPUs, hours and cost, from finished runs.

    python jobs/plan.py --run out/run1 --images 1000000 --phrases-per-image 3 --deadline-hours 24

Short runs do: 64 images in 8 shards with the budget that is asked for, 64 unpruned.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from annotated_types import Ge, Gt

from litelvlm.config import LAYOUTS
from litelvlm.pipeline.command import JobParser, Secrets, configure, run_job
from litelvlm.pipeline.config import StorageOptions
from litelvlm.pipeline.errors import MISTAKES, UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.planner.forecast import Forecaster, Job
from litelvlm.pipeline.planner.page import render_reviews
from litelvlm.pipeline.planner.plans import Planner, Terms
from litelvlm.pipeline.planner.prices import load_prices
from litelvlm.pipeline.planner.reviews import describe_reviews, read_rates, reviews_json, with_reviewers
from litelvlm.pipeline.planner.runs import read_runs
from litelvlm.pipeline.planner.text import as_json, describe
from litelvlm.pipeline.settings import Flag, Settings


@dataclass(frozen=True, kw_only=True)
class PlanSettings(Settings):
    """What is planned, from what, and what is written."""

    run: Annotated[
        tuple[str, ...], Flag("output directories of finished runs, local or s3://", metavar="DIR", repeat=True)
    ] = ()
    storage_options: StorageOptions = field(default_factory=dict)
    job: Job
    budgets: Annotated[
        tuple[Annotated[int, Ge(1)] | None, ...],
        Flag("visual tokens kept, or all", word="all", repeat=True, unset="those of the runs", group=Job.section),
    ] = ()
    layouts: Annotated[
        tuple[str, ...],
        Flag("of prompts", choices=LAYOUTS, repeat=True, unset="those of the runs", group=Job.section),
    ] = ()
    terms: Terms = field(default_factory=Terms)
    gpu: Annotated[
        tuple[str, ...],
        Flag("of the price table", repeat=True, unset="the measured one", group=Terms.section),
    ] = ()
    prices: Annotated[
        str | None,
        Flag("price table", metavar="YAML", unset="pipeline/planner/prices.yaml", group=Terms.section),
    ] = None
    accepted: Annotated[
        tuple[str, ...],
        Flag(
            "what `review.py accept` wrote of runs: reviewers are planned, too",
            metavar="ACCEPTED",
            repeat=True,
            group="reviewers",
        ),
    ] = ()
    reviewer_price: Annotated[float, Flag("of a reviewer's hour", group="reviewers"), Ge(0)] = 25.0
    seconds_per_item: Annotated[
        float | None, Flag("that a person needs for a mask", unset="as the review tools told", group="reviewers"), Gt(0)
    ] = None
    report: Annotated[
        str | None,
        Flag(
            "a page with the curve of labels for the money over token budgets; with --accepted",
            metavar="FILE.html",
            group="output",
        ),
    ] = None
    json: Annotated[
        str | None, Flag("the plan as JSON; - is stdout, after the text", metavar="FILE", group="output")
    ] = None


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 crashed, 2 bad usage or input."""
    return run_job(lambda secrets: _plan(argv, secrets), mistakes=MISTAKES)


def _plan(argv: list[str] | None, secrets: Secrets) -> int:
    parser = build_parser()
    asked = configure(PlanSettings, vars(parser.parse_args(argv)))
    secrets.of(asked.storage_options)
    plan_job(asked)
    return EXIT_DONE


def plan_job(asked: PlanSettings) -> None:
    """Plan as asked and write what is asked for. Raises ValueError naming what does not fit."""
    job, terms = asked.job, asked.terms
    prices = load_prices(asked.prices)
    offers = [prices.offer(name) for name in asked.gpu]
    if asked.json and asked.json != "-" and not Path(asked.json).parent.is_dir():
        raise UsageError(f"--json {asked.json}: no such directory")
    if asked.report and not asked.accepted:
        raise UsageError("--report: has nothing to show without --accepted")
    if asked.report and not Path(asked.report).parent.is_dir():
        raise UsageError(f"--report {asked.report}: no such directory")
    runs = read_runs(asked.run, asked.storage_options)
    planner = Planner(runs, prices, terms)
    forecaster = Forecaster(runs)
    settings = forecaster.asked_settings(asked.budgets, asked.layouts)
    forecasts = [forecaster.forecast(job, setting) for setting in settings]
    plans = [planner.plan(forecast, offer) for offer in offers or [planner.measured_offer()] for forecast in forecasts]
    rates = read_rates(asked.accepted, asked.storage_options, asked.seconds_per_item)
    reviews = with_reviewers(job, plans, rates, asked.reviewer_price)
    print(describe(job, forecaster, planner, plans))
    if rates:
        print("\n" + describe_reviews(reviews, asked.reviewer_price, prices.currency))
    if asked.report:
        page = render_reviews(reviews, asked.reviewer_price, prices.currency)
        Path(asked.report).write_text(page, encoding="utf-8")
    content = as_json(job, forecaster, planner, plans) | ({"reviews": reviews_json(reviews)} if rates else {})
    _write(asked, content)


def build_parser() -> JobParser:
    """The flags of this job."""
    return JobParser(prog="plan", description=__doc__).add_settings(PlanSettings, config=False)


def _write(asked: PlanSettings, content: dict[str, Any]) -> None:
    if asked.json:
        text = json.dumps(content, indent=1) + "\n"
        if asked.json == "-":
            print(text, end="")
        else:
            Path(asked.json).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
