"""Every rule at four budgets on 500 held-out scenes with the shipped checkpoint: `make bench-rules`.

Six sweeps, each one command of `jobs/evaluate.py` and timed as a whole: all rules; orders and positions; positions of
more rules; the release's conversation of several rounds, and of more rules in it; the layout `shared`. What they give
goes to `benchmarks/results/rules`. For another model, or a part of it:

    python -m benchmarks.rules --model build/demo-lisa/checkpoint --results benchmarks/results/rules-lisa \\
        --sweeps rules,positions,conversations,shared --scenes 300
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.hardware import describe

_LEADING = "none,release,paper,context,high_similarity,random,visionzip,vispruner,divprune,csp,nuwa"
ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "rules"
#: Sweep -> what it compares.
SWEEPS = {
    "rules": ("--budgets", "96,48,32,16", "--seeds", "0,1,2", "--example-images", "3"),
    "orders": (
        *("--rules", "none,release,paper,context,visionzip", "--budgets", "48,16"),
        *("--orders", "release,raster", "--positions", "compact,original", "--example-images", "0"),
    ),
    "positions": (
        *("--rules", "none,high_similarity,vispruner,divprune,evtp,csp,altp", "--budgets", "48,16"),
        *("--positions", "compact,original", "--example-images", "0"),
    ),
    "rounds": (
        *("--rules", "none,release,paper,context", "--budgets", "48,16", "--layout", "rounds"),
        *("--orders", "release,raster", "--positions", "compact,original", "--example-images", "0"),
    ),
}
for _name, _layout in (("conversations", "rounds"), ("shared", "shared")):
    SWEEPS[_name] = (
        *("--rules", _LEADING, "--budgets", "48,16", "--layout", _layout),
        *("--example-images", "0"),
    )
_FIXED = ("--dataset", "drawn scenes", "--no-boundary", "--shard-images", "25", "--overwrite")


def main() -> int:
    """Runs the sweeps; returns 0, or the exit code of the first that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--work", type=Path, default=Path("demo/output/sweeps"), help="where the evaluations go")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--model", default="demo", help="as of jobs/evaluate.py")
    parser.add_argument("--clip", help="as of jobs/evaluate.py")
    parser.add_argument("--sweeps", default=",".join(SWEEPS), help="those to run; results of others stay")
    parser.add_argument("--actors", type=int, default=2)
    options = parser.parse_args()
    chosen = options.sweeps.split(",")
    if unknown := sorted(set(chosen) - set(SWEEPS)):
        parser.error(f"--sweeps: {', '.join(unknown)}: choose from {', '.join(SWEEPS)}")
    workers = ["--num-actors", str(options.actors), "--num-cpus", str(options.actors + 2)]
    model = ["--model", options.model, *(["--clip", options.clip] if options.clip else [])]
    table = options.work / "held_out.parquet"
    draw = [sys.executable, "-m", "demo.truth", "--scenes", str(options.scenes), "--output", str(table)]
    subprocess.run(draw, check=True, cwd=ROOT)
    options.results.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        output = options.work / name
        given = [*model, *workers, *_FIXED, *SWEEPS[name]]
        command = ["jobs/evaluate.py", "--input", str(table), "--output", str(output), *given]
        print(f"$ python {shlex.join(command)}", flush=True)
        started = time.monotonic()
        code = subprocess.run([sys.executable, *command], check=False, cwd=ROOT).returncode
        if code:
            return code
        wall_s = round(time.monotonic() - started, 1)
        _keep(options.results / "rules.json", {"sweep": name, "wall_s": wall_s} | _facts(output, command))
        shutil.copyfile(output / "results.csv", options.results / f"{name}.csv")
    if "rules" in chosen:
        shutil.copyfile(options.work / "rules" / "evaluation.html", options.results / "rules.html")
        plot(options.results / "rules.csv", options.results / "rules.png")
    return 0


def _keep(path: Path, facts: dict[str, Any]) -> None:
    """Put a sweep's facts in the place of its earlier ones; each says where it was measured."""
    sweeps = json.loads(path.read_text())["sweeps"] if path.is_file() else []
    kept = {one["sweep"]: one for one in sweeps} | {facts["sweep"]: facts | {"measured_on": describe()}}
    in_order = [kept[name] for name in SWEEPS if name in kept]
    path.write_text(json.dumps({"sweeps": in_order}, indent=1) + "\n")


def _facts(output: Path, command: list[str]) -> dict[str, Any]:
    summary = json.loads((output / "evaluation.json").read_text())
    names = ("protocol", "model_revision", "images", "answers", "failed", "encode_s", "answer_s", "contrasts")
    own = {name: summary[name] for name in names}
    return {"command": shlex.join(["python", *command]), "combinations": len(summary["results"])} | own


def plot(table: Path, output: Path) -> None:
    """gIoU by tokens kept, a curve for each rule, seeds averaged; needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["slice_by"] == "all":
                points[row["rule"]][int(row["num_retain_tokens"])].append(float(row["giou"]))
    means = {rule: {n: sum(own) / len(own) for n, own in sorted(at.items())} for rule, at in points.items()}
    [(total, unpruned)] = means.pop("none").items()
    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.axhline(unpruned, color="black", linestyle="--", linewidth=1, label=f"none ({total} tokens)")
    for number, (rule, at) in enumerate(sorted(means.items(), key=lambda item: -sum(item[1].values()))):
        axes.plot(list(at), list(at.values()), color=f"C{number % 10}", marker="os"[number // 10], label=rule)
    ticks = sorted({tokens for at in means.values() for tokens in at})
    axes.set(
        xscale="log",
        xlabel=f"visual tokens kept of {total}",
        ylabel="gIoU",
        title="Held-out scenes",
    )
    axes.set_xticks(ticks, [str(tokens) for tokens in ticks], minor=False)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(output, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
