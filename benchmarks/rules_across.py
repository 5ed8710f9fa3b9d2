"""Which rules hold across models, budgets and layouts, from the tables of `benchmarks.rules`.

    python -m benchmarks.rules_across

Of every rule the share of the unpruned model's gIoU that it keeps in each condition (model, layout, budget), its mean
and its worst, and how alike conditions order the rules (Spearman). Goes to `across.json` and `across.md`.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.rules import RESULTS

MODELS = {"GLaMM": RESULTS, "LISA": RESULTS.with_name("rules-lisa")}
#: Layout -> the table that has it.
LAYOUTS = {"separate": "rules.csv", "shared": "shared.csv", "rounds": "conversations.csv"}
BUDGETS = (48, 16)
Condition = tuple[str, str, int]  # model, layout, budget
Shares = dict[Condition, dict[str, float]]


def main() -> int:
    """Writes both files; returns 0."""
    shares = shares_of(MODELS)
    rules = in_all(shares)
    content = {
        "shares": [
            {"model": model, "layout": layout, "num_retain_tokens": budget}
            | {rule: round(own[rule], 4) for rule in rules}
            for (model, layout, budget), own in shares.items()
        ],
        "spearman": agreement(shares, rules),
    }
    (RESULTS / "across.json").write_text(json.dumps(content, indent=1) + "\n")
    (RESULTS / "across.md").write_text(as_table(shares, rules))
    return 0


def shares_of(models: Mapping[str, Path]) -> Shares:
    """Every condition that a model's folder has a table of."""
    return {
        (model, layout, budget): own
        for model, folder in models.items()
        for layout, name in LAYOUTS.items()
        if (folder / name).is_file()
        for budget, own in read_shares(folder / name, BUDGETS).items()
    }


def read_shares(table: Path, budgets: Sequence[int]) -> dict[int, dict[str, float]]:
    """By budget and rule the share of the unpruned gIoU, seeds averaged; default orders and positions alone."""
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["slice_by"], row["order"], row["positions"]) == ("all", "auto", "compact"):
                found[row["rule"], int(row["num_retain_tokens"])].append(float(row["giou"]))
    means = {key: sum(own) / len(own) for key, own in found.items()}
    unpruned = next(giou for (rule, _), giou in means.items() if rule == "none")
    return {
        budget: {rule: giou / unpruned for (rule, tokens), giou in means.items() if tokens == budget and rule != "none"}
        for budget in budgets
    }


def in_all(shares: Shares) -> list[str]:
    """The rules that were measured in every condition, the best mean first."""
    common = set.intersection(*(set(own) for own in shares.values()))
    return sorted(common, key=lambda rule: -float(np.mean([own[rule] for own in shares.values()])))


def agreement(shares: Shares, rules: Sequence[str]) -> list[dict[str, object]]:
    """Spearman's correlation of the rules' order, for each pair of conditions that differ in one respect."""
    found: list[dict[str, object]] = []
    conditions = list(shares)
    for place, one in enumerate(conditions):
        for other in conditions[place + 1 :]:
            if sum(a != b for a, b in zip(one, other, strict=True)) == 1:
                orders = ([shares[at][rule] for rule in rules] for at in (one, other))
                found.append({"one": one, "other": other, "spearman": round(float(spearmanr(*orders).statistic), 3)})
    return found


def as_table(shares: Shares, rules: Sequence[str]) -> str:
    """Markdown: a row a rule, a column a condition."""
    heads = [f"{model} {layout} {budget}" for model, layout, budget in shares]
    lines = ["| rule | " + " | ".join([*heads, "mean", "worst"]) + " |", "|---" * (len(heads) + 3) + "|"]
    for rule in rules:
        own = [100 * values[rule] for values in shares.values()]
        cells = [f"{value:.0f}" for value in own] + [f"**{np.mean(own):.0f}**", f"{min(own):.0f}"]
        lines.append(f"| `{rule}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
