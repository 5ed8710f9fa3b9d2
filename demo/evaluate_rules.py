"""Every pruning rule at three budgets on the held-out scenes: quality, and whether the kept tokens show the object.

    python -m demo.evaluate_rules --model demo --scenes 500 --output demo/results

Writes `rules.csv` and `rules.md`.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import itertools
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from demo.scenes import HELD_OUT_SEED
from demo.scoring import Scored, scenes_from, score_scenes
from litelvlm import Annotator, PruningConfig
from litelvlm.checkpoint import open_checkpoint
from litelvlm.config import LAYOUTS, RULES

Row = dict[str, str | int | float]

SHARES = ((2, 3), (1, 3), (1, 6))
KINDS = ("attribute", "size", "relation", "location")
COLUMNS = (
    "layout", "rule", "tokens", "giou", "ciou", "kept_of_unpruned", "coverage", "spearman",
    *(f"giou_{kind}" for kind in KINDS), "seconds",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the table."""

    layout: str
    rule: str
    tokens: int


def settings(num_visual_tokens: int) -> list[Setting]:
    """Unpruned in both layouts, then every rule at every budget with a prompt per phrase."""
    unpruned = [Setting(layout=layout, rule="none", tokens=num_visual_tokens) for layout in LAYOUTS]
    budgets = [num_visual_tokens * part // whole for part, whole in SHARES]
    rules = [rule for rule in RULES if rule != "none"]
    pruned = [Setting(layout="separate", rule=rule, tokens=tokens) for tokens in budgets for rule in rules]
    joint = [Setting(layout="rounds", rule=rule, tokens=budgets[1]) for rule in ("release", "paper")]
    return unpruned + pruned + joint


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of N values, ties sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def spearman(scored: Scored) -> float:
    """Rank correlation of confidence and true IoU."""
    return float(np.corrcoef(ranks(scored.scores), ranks(scored.iou))[0, 1])


def _score_part(model: str, seeds: range, table: list[Setting]) -> list[tuple[Scored, float]]:
    """Every setting on a part of the scenes, with the seconds that it took; runs in a process of its own."""
    torch.set_num_threads(1)
    annotator = Annotator.from_pretrained(model)
    scenes = list(scenes_from(seeds.start, len(seeds)))
    results = []
    for setting in table:
        start = time.perf_counter()
        pruning = PruningConfig(rule=setting.rule, num_retain_tokens=setting.tokens)
        results.append((score_scenes(annotator, scenes, pruning, setting.layout), time.perf_counter() - start))
        print(f"seeds from {seeds.start}: {setting} done", flush=True)
    return results


def evaluate(model: str, num_scenes: int, table: list[Setting], *, num_processes: int) -> list[Row]:
    """Measures every setting; a row each, with the columns of `COLUMNS`."""
    edges = [HELD_OUT_SEED + num_scenes * index // num_processes for index in range(num_processes + 1)]
    seeds = [range(first, last) for first, last in itertools.pairwise(edges)]
    with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(_score_part, [model] * num_processes, seeds, [table] * num_processes))
    rows: list[Row] = []
    unpruned: dict[str, float] = {}
    for setting, results in zip(table, zip(*parts, strict=True), strict=True):
        scored = Scored.join([part for part, _ in results])
        if setting.rule == "none":
            unpruned[setting.layout] = scored.giou
        rows.append(_row(setting, scored, sum(seconds for _, seconds in results), unpruned[setting.layout]))
    return rows


def _row(setting: Setting, scored: Scored, seconds: float, unpruned_giou: float) -> Row:
    kinds = np.array(scored.kinds)
    return {
        "layout": setting.layout,
        "rule": setting.rule,
        "tokens": setting.tokens,
        "giou": scored.giou,
        "ciou": scored.ciou,
        "kept_of_unpruned": scored.giou / unpruned_giou,
        "coverage": float(scored.coverage.mean()),
        "spearman": spearman(scored),
        **{f"giou_{kind}": float(scored.iou[kinds == kind].mean()) for kind in KINDS},
        "seconds": seconds,
    }


def _shown(value: str | int | float) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def hardware() -> str:
    """The processor and the threads used."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    return f"{name}, torch {torch.__version__}"


def reversal(rows: list[Row]) -> str:
    """What the table says about similarity reversal, in a sentence."""

    def cell(rule: str, tokens: int, column: str) -> float:
        found = [r for r in rows if r["rule"] == rule and r["tokens"] == tokens and r["layout"] == "separate"]
        return float(found[0][column])

    budgets = sorted({int(row["tokens"]) for row in rows if row["rule"] == "random"}, reverse=True)
    parts = [
        f"at {tokens} tokens the least similar ones cover {cell('low_similarity', tokens, 'coverage'):.0%} of the "
        f"object's patches and the most similar ones {cell('high_similarity', tokens, 'coverage'):.0%} (random: "
        f"{cell('random', tokens, 'coverage'):.0%}), with gIoU {cell('low_similarity', tokens, 'giou'):.3f} against "
        f"{cell('high_similarity', tokens, 'giou'):.3f}"
        for tokens in budgets
    ]
    return "Similarity reversal on this checkpoint: " + "; ".join(parts) + "."


def write(rows: list[Row], directory: Path, *, num_scenes: int, revision: str) -> None:
    """Writes `rules.csv` and `rules.md`."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "rules.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({name: _shown(value) for name, value in row.items()} for row in rows)
    lines = [
        "# Pruning rules on the shipped checkpoint",
        "",
        f"{num_scenes} held-out scenes (seeds {HELD_OUT_SEED} to {HELD_OUT_SEED + num_scenes - 1}), checkpoint "
        f"`{revision}`, {datetime.date.today().isoformat()}, {hardware()}. Made by `python -m demo.evaluate_rules`.",
        "",
        "gIoU is the mean IoU over phrases at the original size, cIoU the sum of intersections over the sum of unions. "
        "Coverage is the share of the object's patches among the kept ones, Spearman the rank correlation of the "
        "confidence with the true IoU. Seconds are for all scenes on one thread, other work going on beside.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(_cell(name, row[name]) for name in COLUMNS) + " |" for row in rows),
        "",
        reversal(rows),
        "",
    ]
    (directory / "rules.md").write_text("\n".join(lines))


def _cell(name: str, value: str | int | float) -> str:
    if name == "seconds":
        return f"{value:.0f}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo", help="checkpoint: demo, a directory or a Hugging Face id")
    parser.add_argument("--scenes", type=int, default=500, help="number of held-out scenes")
    parser.add_argument("--output", type=Path, default=Path("demo/results"), help="where rules.csv and rules.md go")
    parser.add_argument("--processes", type=int, default=2, help="processes, a thread each, that share the scenes")
    options = parser.parse_args(arguments)
    checkpoint = open_checkpoint(options.model)
    table = settings(checkpoint.config.num_visual_tokens)
    rows = evaluate(options.model, options.scenes, table, num_processes=options.processes)
    write(rows, options.output, num_scenes=options.scenes, revision=checkpoint.revision)
    return 0


if __name__ == "__main__":
    sys.exit(main())
