"""The planner held against runs that it has not seen: fitted to small runs, asked for larger ones, which are then made.

    python -m benchmarks.planner_backtest                    # about six minutes on 2 idle cores
    python -m benchmarks.planner_backtest --small 96 --large 240

The small runs keep 48 tokens and all 144; the larger ones are of other scenes, with the same budgets and with 96, which
no small run had. Ends with 1 where a prediction of the device's seconds is off by more than 10 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.hardware import describe
from litelvlm.demo.run import write_scenes
from litelvlm.pipeline.planner.forecast import Forecaster, Job
from litelvlm.pipeline.planner.plans import Planner, Terms
from litelvlm.pipeline.planner.prices import load_prices
from litelvlm.pipeline.planner.runs import MeasuredRun, read_runs

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "planner_backtest.json"
ALLOWED = 0.10
RULE = "context"
BUDGETS: tuple[int | None, ...] = (48, None)  # None: all tokens
UNSEEN_BUDGET = 96


def main() -> int:
    """Make the runs, compare, write the result. Returns 1 where a prediction is off by more than it may be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=256, help="images of each run that the planner is fitted to")
    parser.add_argument("--large", type=int, default=1536, help="images of each run that it has to predict")
    parser.add_argument("--shard-images", type=int, default=16)
    parser.add_argument("--layout", default="separate")
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="planner-backtest-") as scratch:
        table = Path(scratch) / "scenes.parquet"
        write_scenes(table, options.small + options.large)
        small, large = split(table, options.small)
        seen = [annotate(small, budget, options) for budget in BUDGETS]
        held_out = [annotate(large, budget, options) for budget in (*BUDGETS, UNSEEN_BUDGET)]
        content = compare(seen, held_out)
    content = {
        "hardware": describe(),
        **{name: getattr(options, name) for name in ("layout", "shard_images")},
    } | content
    options.result.write_text(json.dumps(content, indent=1) + "\n")
    worst = max(abs(row["held_s"]["error"]) for row in content["held_out"])
    print(f"largest error of the device's seconds: {worst:.1%} (allowed {ALLOWED:.0%}); {options.result}")
    return int(worst > ALLOWED)


def split(table: Path, count: int) -> tuple[Path, Path]:
    """The first `count` rows and the rest, as files of their own."""
    import pyarrow.parquet as pq

    rows = pq.read_table(table)
    paths = table.with_name("small.parquet"), table.with_name("large.parquet")
    for path, part in zip(paths, (rows.slice(0, count), rows.slice(count)), strict=True):
        pq.write_table(part, path, row_group_size=128)
    return paths


def annotate(table: Path, budget: int | None, options: argparse.Namespace) -> Path:
    """One run of the job, in a process of its own. Returns its output."""
    output = table.with_name(f"{table.stem}-{budget or 'all'}")
    command = [sys.executable, str(ROOT / "jobs" / "annotate.py"), "--input", str(table), "--output", str(output)]
    command += ["--shard-images", str(options.shard_images), "--layout", options.layout]
    command += ["--num-retain-tokens", str(budget or "all"), "--rule", RULE if budget else "none"]
    subprocess.run(command, check=True)
    return output


def compare(seen: list[Path], held_out: list[Path]) -> dict[str, Any]:
    """Predicted and measured seconds of every held-out run."""
    runs = read_runs(map(str, seen))
    forecaster = Forecaster(runs)
    prices = load_prices()
    offer = prices.of_device(runs[0].device)
    assert offer is not None, f"the price table does not know {runs[0].device}"
    planner = Planner(runs, prices, Terms(node_start_s=0.0))
    rows = []
    for path in held_out:
        run = read_runs([str(path)])[0]
        totals = json.loads((path / "run.json").read_text())["totals"]
        images = num_images(run)
        job = Job(images=images, phrases_per_image=totals["phrases"] / images)
        forecast = forecaster.forecast(job, run.setting)
        model = forecaster.models[run.setting.layout]
        work_s = model.held_s(forecast.load)
        row = {
            "setting": str(run.setting),
            "basis": forecast.basis,
            "images": job.images,
            "phrases": totals["phrases"],
            "held_s": against(work_s + forecast.start_s, totals["held_s"]),
            "held_s_without_start": against(work_s, totals["held_s"] - totals["startup_s"]),
            "wall_s": against(planner.plan(forecast, offer).hours * 3600, wall_s(path)),
            "warnings": list(forecast.warnings),
        }
        rows.append(row)
        print(line(row), flush=True)
    errors = {layout: vars(model.error) for layout, model in forecaster.models.items()}
    fitted = [{"setting": str(run.setting), "images": num_images(run)} for run in runs]
    return {"fitted_to": fitted, "fit_error": errors, "held_out": rows}


def num_images(run: MeasuredRun) -> int:
    """Images that a run annotated."""
    return int(sum(item.load.images for item in run.observations))


def against(predicted: float, measured: float) -> dict[str, float]:
    """Both, and the error as a share of the measured value."""
    return {
        "predicted": round(predicted, 3),
        "measured": round(measured, 3),
        "error": round(predicted / measured - 1, 4),
    }


def wall_s(path: Path) -> float:
    """Seconds from the run's start to its end, as it noted them."""
    summary = json.loads((path / "run.json").read_text())
    started, ended = (datetime.fromisoformat(summary[name]) for name in ("started_at", "ended_at"))
    return (ended - started).total_seconds()


def line(row: dict[str, Any]) -> str:
    """A held-out run, for people who watch."""
    values = ", ".join(
        f"{name} {row[name]['predicted']:.1f} for {row[name]['measured']:.1f} ({row[name]['error']:+.1%})"
        for name in ("held_s", "held_s_without_start", "wall_s")
    )
    return f"{row['setting']} ({row['basis']}), {row['images']} images: {values}"


if __name__ == "__main__":
    sys.exit(main())
