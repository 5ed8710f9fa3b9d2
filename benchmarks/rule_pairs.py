"""Every rule against `context` and against `random`, on the same expressions: differences in gIoU with 95 % intervals.

    python -m benchmarks.rule_pairs --evaluation demo/output/sweeps/rules --output benchmarks/results/rules/against.csv

Intervals are of a bootstrap over images, of the answers of one evaluation, with the seed 0 of `random`.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from litelvlm.evaluation.bootstrap import bootstrap_mean

REFERENCES = ("context", "random")
_COLUMNS = ("combination", "source_row", "phrase_index", "image_key", "intersection", "predicted_area", "true_area")
Ious = dict[tuple[int, int, str], float]  # row, phrase and image of an expression


def main() -> int:
    """Writes the table; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluation", type=Path, required=True, help="output of jobs/evaluate.py")
    parser.add_argument("--output", type=Path, required=True, help="a .csv file")
    options = parser.parse_args()
    write_pairs(options.evaluation, options.output)
    return 0


def write_pairs(evaluation: Path, output: Path) -> None:
    """A row for each rule, budget and reference."""
    facts = json.loads((evaluation / "config.json").read_text())["facts"]
    combinations = [dict(pair.split("=") for pair in text.split()) for text in facts["combinations"]]
    ious = read_ious(evaluation / "answers.parquet")
    with output.open("w", newline="") as file:
        writer = csv.DictWriter(file, ("num_retain_tokens", "rule", "against", "difference", "low", "high"))
        writer.writeheader()
        writer.writerows(pairs(combinations, ious))


def read_ious(path: Path) -> dict[int, Ious]:
    """By combination the IoU of every scored expression, 1 where truth and mask are empty."""
    found: dict[int, Ious] = defaultdict(dict)
    for row in pq.read_table(path, columns=list(_COLUMNS)).to_pylist():
        if row["intersection"] is not None:
            union = row["predicted_area"] + row["true_area"] - row["intersection"]
            key = row["source_row"], row["phrase_index"], row["image_key"]
            found[row["combination"]][key] = row["intersection"] / union if union else 1.0
    return found


def pairs(combinations: list[dict[str, str]], ious: dict[int, Ious]) -> Iterator[dict[str, Any]]:
    """Differences under the first order and positions of each rule."""
    places: dict[int, dict[str, int]] = defaultdict(dict)
    for place, one in enumerate(combinations):
        if "num_retain_tokens" in one:
            places[int(one["num_retain_tokens"])].setdefault(one["rule"], place)
    for budget, own in sorted(places.items(), reverse=True):
        for against in REFERENCES:
            for rule in own:
                if rule != against and against in own:
                    found = _difference(ious[own[rule]], ious[own[against]])
                    yield {"num_retain_tokens": budget, "rule": rule, "against": against, **found}


def _difference(one: Ious, other: Ious) -> dict[str, float]:
    keys = sorted(one.keys() & other.keys())
    values = np.array([one[key] - other[key] for key in keys])
    low, high = bootstrap_mean(values, [image for *_, image in keys])
    return {"difference": round(float(values.mean()), 4), "low": round(low, 4), "high": round(high, 4)}


if __name__ == "__main__":
    sys.exit(main())
