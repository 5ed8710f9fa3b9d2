"""What the next run will take: GPUs, hours and cost, from finished runs or a short calibration.

    python jobs/plan.py --run out/run1 --images 1000000 --phrases-per-image 3 --deadline-hours 24
    python jobs/plan.py --calibrate --input in.parquet --num-retain-tokens 192 --images 1000000 --phrases-per-image 3

With --calibrate, flags that are none of these are those of jobs/annotate.py and say how the calibration annotates.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from a checkout, installed or not

from litelvlm.jobs import annotate
from litelvlm.pipeline.command import JobParser, Secrets, run_job
from litelvlm.pipeline.config import LAYOUTS, InputConfig, RunConfig
from litelvlm.pipeline.errors import MISTAKES, UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.planner.chart import check_chart, draw_chart
from litelvlm.pipeline.planner.forecast import Forecaster, Job
from litelvlm.pipeline.planner.plans import Plan, Planner, Terms
from litelvlm.pipeline.planner.prices import load_prices
from litelvlm.pipeline.planner.runs import MeasuredRun, read_runs
from litelvlm.pipeline.planner.text import as_json, describe


def main(argv: list[str] | None = None) -> int:
    """Run the job. Returns 0 done, 1 crashed, 2 bad usage or input."""
    return run_job(lambda secrets: _plan(argv, secrets), mistakes=MISTAKES)


def _plan(argv: list[str] | None, secrets: Secrets) -> int:
    flags, rest = build_parser().parse_known_args(argv)
    plan_job(flags, rest, secrets.of_flags(flags.storage_options))
    return EXIT_DONE


def plan_job(flags: argparse.Namespace, rest: list[str], options: dict[str, Any]) -> None:
    """Plan as the flags say and write what they ask for. Raises ValueError naming what does not fit."""
    job, terms = _job(flags), _terms(flags)
    prices = load_prices(flags.prices)
    offers = [prices.offer(name) for name in flags.gpu or ()]
    if flags.chart:
        check_chart(flags.chart)
    if flags.json and flags.json != "-" and not Path(flags.json).parent.is_dir():
        raise UsageError(f"--json {flags.json}: no such directory")
    if rest and not flags.calibrate:
        raise UsageError(f"{rest[0]}: no such flag without --calibrate")
    if flags.calibrate and flags.run:
        raise UsageError("--run and --calibrate: give one of the two")
    runs = _calibrated(flags, rest, options) if flags.calibrate else read_runs(flags.run or (), options)
    planner = Planner(runs, prices, terms)
    forecaster = Forecaster(runs)
    settings = forecaster.asked_settings(flags.budgets or (), flags.layouts or ())
    forecasts = [forecaster.forecast(job, setting) for setting in settings]
    plans = [planner.plan(forecast, offer) for offer in offers or planner.comparable() for forecast in forecasts]
    print(describe(job, forecaster, planner, plans))
    _write(flags, job, forecaster, planner, plans)


def build_parser() -> argparse.ArgumentParser:
    """The flags of this job; with `--calibrate` it takes those of `jobs/annotate.py` as well."""
    parser = JobParser(
        prog="plan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--run", nargs="+", metavar="DIR", help="output directories of finished runs, local or s3://")
    add("--calibrate", action="store_true", help="measure now: annotate a sample with the asked budget and unpruned")
    add("--calibrate-images", type=int, default=64, metavar="N", help="images of each of the two; default 64")
    add("--storage-options", nargs="+", action="extend", metavar="K=V", help="for fsspec, as in jobs/annotate.py")
    _add_job_flags(parser.add_argument_group("what is to be annotated"))
    _add_terms_flags(parser.add_argument_group("on which terms"))
    output = parser.add_argument_group("output")
    output.add_argument("--json", metavar="FILE", help="the plan as JSON; - is stdout, after the text")
    output.add_argument("--chart", metavar="FILE", help="cost against quality, .png, .svg or .pdf")
    return parser


def _add_job_flags(group: Any) -> None:
    add = group.add_argument
    add("--images", type=int, required=True, metavar="N", help="images to annotate")
    add("--phrases-per-image", type=float, required=True, metavar="P", help="phrases of each, on average")
    add("--megapixels-per-image", type=float, metavar="M", help="default: as in the runs")
    add(
        "--budgets", nargs="+", type=_budget, metavar="R", help="visual tokens kept, or all; default: those of the runs"
    )
    add("--layouts", nargs="+", choices=LAYOUTS, help="default: those of the runs")


def _add_terms_flags(group: Any) -> None:
    add = group.add_argument
    add("--deadline-hours", type=float, metavar="H", help="the fewest instances that keep it; default: one instance")
    add("--gpu", nargs="+", metavar="NAME", help="of the price table; default: all that compare with the measured one")
    add("--prices", metavar="YAML", help="price table; default: pipeline/planner/prices.yaml")
    add("--speed-ratio", type=float, metavar="X", help="how many times as fast --gpu is as the measured device")
    add("--node-start-s", type=float, default=180.0, metavar="S", help="from asking for an instance to its use; 180")
    add("--shard-images", type=int, metavar="N", help="rows per shard; default: as in the runs, 64 with --calibrate")


def _job(flags: argparse.Namespace) -> Job:
    return Job(
        images=flags.images,
        phrases_per_image=flags.phrases_per_image,
        megapixels_per_image=flags.megapixels_per_image,
    )


def _terms(flags: argparse.Namespace) -> Terms:
    return Terms(
        deadline_hours=flags.deadline_hours,
        shard_images=flags.shard_images or (InputConfig.shard_images if flags.calibrate else None),
        node_start_s=flags.node_start_s,
        speed_ratio=flags.speed_ratio,
    )


def _calibrated(flags: argparse.Namespace, rest: list[str], options: dict[str, Any]) -> list[MeasuredRun]:
    """Runs made now. They go below `--output` of the annotation flags, or are removed afterwards."""
    from litelvlm.pipeline.calibrate import calibrate

    with tempfile.TemporaryDirectory(prefix="litelvlm-plan-") as scratch:
        config = _annotate_config(rest, options, scratch)
        roots = calibrate(config, num_images=flags.calibrate_images, output=config.output, stream=sys.stderr)
        return read_runs(roots, config.storage_options)


def _annotate_config(rest: list[str], options: dict[str, Any], scratch: str) -> RunConfig:
    given = vars(annotate.build_parser().parse_args(rest))
    if given.pop("dry_run"):
        raise UsageError("--dry-run: a calibration measures; leave it out")
    given["output"] = given["output"] or scratch
    given["storage_options"] = options or None
    return annotate.build_config(given)


def _write(
    flags: argparse.Namespace, job: Job, forecaster: Forecaster, planner: Planner, plans: Sequence[Plan]
) -> None:
    if flags.json:
        text = json.dumps(as_json(job, forecaster, planner, plans), indent=1) + "\n"
        if flags.json == "-":
            print(text, end="")
        else:
            Path(flags.json).write_text(text, encoding="utf-8")
    if flags.chart:
        title = f"{job.images:,} images, {job.phrases_per_image:g} phrases each"
        draw_chart(plans, flags.chart, currency=planner.prices.currency, title=title)


def _budget(text: str) -> int | None:
    if text == "all":
        return None
    budget = int(text)
    if budget < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1, or all")
    return budget


if __name__ == "__main__":
    sys.exit(main())
