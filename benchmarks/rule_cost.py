"""What an answer costs under every rule and budget, beside the quality that `benchmarks.rules` found for it.

    python -m benchmarks.rule_cost                                        # the shipped checkpoint
    python -m benchmarks.rule_cost --model build/demo-lisa/checkpoint --results benchmarks/results/rules-lisa

Milliseconds of one thread's CPU time for choosing tokens, language model and mask, images encoded before: the least of
several rounds in which all rules and budgets take turns, so that what else the machine does tells on none of them more
than on others. On an idle machine they are wall-clock time. Goes to `cost.json` and `cost.png` beside `rules.csv`.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.hardware import describe
from benchmarks.rules import RESULTS
from litelvlm import AnnotationRequest, Annotator, PruningConfig
from litelvlm.config import RULES, UNPRUNED
from litelvlm.demo.scenes import HELD_OUT_SEED, draw_scene

BUDGETS = (96, 48, 32, 16)
IMAGES = 16


def main() -> int:
    """Measures and draws; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--clip")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    annotator = Annotator.from_pretrained(options.model, options.clip)
    found = measure(annotator, rounds=options.rounds)
    content = {"measured_on": describe(), "model": options.model, "rounds": options.rounds, "answers": found}
    path = options.results / "cost.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    plot_cost(options.results / "rules.csv", found, options.results / "cost.png")
    return 0


def measure(annotator: Annotator, *, rounds: int, images: int = IMAGES) -> list[dict[str, Any]]:
    """For every rule and budget milliseconds of an answer, and the median of the rounds beside the least."""
    scenes = [draw_scene(HELD_OUT_SEED + number) for number in range(images)]
    encoded = annotator.encode([scene.image for scene in scenes])
    requests = [
        AnnotationRequest(image=image, phrases=scene.phrases) for image, scene in zip(encoded, scenes, strict=True)
    ]
    answers = sum(len(scene.phrases) for scene in scenes)
    total = annotator.num_visual_tokens
    combinations = [(UNPRUNED, total), *product((rule for rule in RULES if rule != UNPRUNED), BUDGETS)]
    spent: dict[tuple[str, int], list[float]] = defaultdict(list)
    for _ in range(rounds + 1):  # the first one embeds questions and warms up
        for rule, budget in combinations:
            pruning = PruningConfig(rule=rule, num_retain_tokens=budget)
            started = time.thread_time()
            annotator.annotate(requests, pruning=pruning, keep_logits=False)
            spent[rule, budget].append(1000 * (time.thread_time() - started) / answers)
    return [
        {
            "rule": rule,
            "num_retain_tokens": budget,
            "ms": round(min(own[1:]), 3),
            "median_ms": round(sorted(own[1:])[rounds // 2], 3),
        }
        for (rule, budget), own in spent.items()
    ]


def plot_cost(table: Path, costs: list[dict[str, Any]], output: Path) -> None:
    """gIoU by milliseconds an answer, a curve for each rule from its largest to its smallest budget."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    quality: dict[tuple[str, int], list[float]] = defaultdict(list)
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["slice_by"] == "all":
                quality[row["rule"], int(row["num_retain_tokens"])].append(float(row["giou"]))
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for one in costs:
        if own := quality.get((one["rule"], one["num_retain_tokens"])):
            curves[one["rule"]].append((one["ms"], sum(own) / len(own)))
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, (rule, curve) in enumerate(sorted(curves.items(), key=lambda item: -max(y for _, y in item[1]))):
        colour = "black" if rule == UNPRUNED else f"C{number % 10}"
        milliseconds, gious = zip(*curve, strict=True)
        axes.plot(milliseconds, gious, marker="os"[number // 10], markersize=5, label=rule, color=colour)
    axes.set(xlabel="milliseconds of one CPU thread an answer", ylabel="gIoU", title="Quality by cost, held-out scenes")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(output, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
