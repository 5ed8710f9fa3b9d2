"""What the next run will take: GPUs, hours and cost, from finished runs or a short calibration.

    python jobs/plan.py --run out/run1 --images 1000000 --phrases-per-image 3 --deadline-hours 24
    python jobs/plan.py --calibrate --input in.parquet --num-retain-tokens 192 --images 1000000 --phrases-per-image 3

With --calibrate, flags that are none of these are those of jobs/annotate.py and say how the calibration annotates.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from annotated_types import Ge

from litelvlm.config import LAYOUTS
from litelvlm.jobs import annotate
from litelvlm.pipeline.command import JobParser, Secrets, configure, run_job
from litelvlm.pipeline.config import InputConfig, RunConfig, StorageOptions
from litelvlm.pipeline.errors import MISTAKES, UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.planner.chart import check_chart, draw_chart
from litelvlm.pipeline.planner.forecast import Forecaster, Job
from litelvlm.pipeline.planner.plans import Plan, Planner, Terms
from litelvlm.pipeline.planner.prices import load_prices
from litelvlm.pipeline.planner.runs import MeasuredRun, read_runs
from litelvlm.pipeline.planner.text import as_json, describe
from litelvlm.pipeline.settings import Flag, Settings


@dataclass(frozen=True, kw_only=True)
class PlanSettings(Settings):
    """What is planned, from what, and what is written."""

    run: Annotated[
        tuple[str, ...], Flag("output directories of finished runs, local or s3://", metavar="DIR", repeat=True)
    ] = ()
    calibrate: Annotated[bool, Flag("measure now: annotate a sample with the asked budget and unpruned")] = False
    calibrate_images: Annotated[int, Flag("images of each of the two")] = 64
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
    json: Annotated[
        str | None, Flag("the plan as JSON; - is stdout, after the text", metavar="FILE", group="output")
    ] = None
    chart: Annotated[str | None, Flag("cost against quality, .png, .svg or .pdf", metavar="FILE", group="output")] = (
        None
    )


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 crashed, 2 bad usage or input."""
    return run_job(lambda secrets: _plan(argv, secrets), mistakes=MISTAKES)


def _plan(argv: list[str] | None, secrets: Secrets) -> int:
    parser = build_parser()
    flags, rest = parser.parse_known_args(argv)
    if not flags.calibrate:
        parser.refuse(rest, reason="no such flag without --calibrate")
    asked = configure(PlanSettings, vars(flags))
    secrets.of(asked.storage_options)
    plan_job(asked, rest)
    return EXIT_DONE


def plan_job(asked: PlanSettings, rest: list[str]) -> None:
    """Plan as asked and write what is asked for; `rest` says how a calibration annotates.

    Raises ValueError naming what does not fit.
    """
    job, terms = asked.job, asked.terms
    if asked.calibrate and terms.shard_images is None:
        terms = dataclasses.replace(terms, shard_images=InputConfig.shard_images)
    prices = load_prices(asked.prices)
    offers = [prices.offer(name) for name in asked.gpu]
    if asked.chart:
        check_chart(asked.chart)
    if asked.json and asked.json != "-" and not Path(asked.json).parent.is_dir():
        raise UsageError(f"--json {asked.json}: no such directory")
    if asked.calibrate and asked.run:
        raise UsageError("--run and --calibrate: give one of the two")
    runs = _calibrated(asked, rest) if asked.calibrate else read_runs(asked.run, asked.storage_options)
    planner = Planner(runs, prices, terms)
    forecaster = Forecaster(runs)
    settings = forecaster.asked_settings(asked.budgets, asked.layouts)
    forecasts = [forecaster.forecast(job, setting) for setting in settings]
    plans = [planner.plan(forecast, offer) for offer in offers or [planner.measured_offer()] for forecast in forecasts]
    print(describe(job, forecaster, planner, plans))
    _write(asked, job, forecaster, planner, plans)


def build_parser() -> JobParser:
    """The flags of this job; with `--calibrate` it takes those of `jobs/annotate.py` as well."""
    return JobParser(prog="plan", description=__doc__).add_settings(PlanSettings, config=False)


def _calibrated(asked: PlanSettings, rest: list[str]) -> list[MeasuredRun]:
    """Runs made now. They go below `--output` of the annotation flags, or are removed afterwards."""
    from litelvlm.pipeline.calibrate import calibrate

    with tempfile.TemporaryDirectory(prefix="litelvlm-plan-") as scratch:
        config = _annotate_config(rest, asked.storage_options, scratch)
        roots = calibrate(config, num_images=asked.calibrate_images, output=config.output, stream=sys.stderr)
        return read_runs(roots, config.storage_options)


def _annotate_config(rest: list[str], options: dict[str, Any], scratch: str) -> RunConfig:
    parser = annotate.build_parser()
    flags, left = parser.parse_known_args(rest)
    parser.refuse(left, also=build_parser())
    given = vars(flags)
    if given.pop("dry_run"):
        raise UsageError("--dry-run: a calibration measures; leave it out")
    given["output"] = given["output"] or scratch
    given["storage_options"] = options or None
    return configure(RunConfig, given)


def _write(asked: PlanSettings, job: Job, forecaster: Forecaster, planner: Planner, plans: Sequence[Plan]) -> None:
    if asked.json:
        text = json.dumps(as_json(job, forecaster, planner, plans), indent=1) + "\n"
        if asked.json == "-":
            print(text, end="")
        else:
            Path(asked.json).write_text(text, encoding="utf-8")
    if asked.chart:
        title = f"{job.images:,} images, {job.phrases_per_image:g} phrases each"
        draw_chart(plans, asked.chart, currency=planner.prices.currency, title=title)


if __name__ == "__main__":
    sys.exit(main())
