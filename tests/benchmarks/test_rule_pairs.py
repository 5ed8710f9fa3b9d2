"""Rules are compared on the expressions that they share."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.rule_pairs import write_pairs


def test_differences_are_of_the_same_expressions(tmp_path: Path) -> None:
    words = ("rule=none", *(f"rule={rule} num_retain_tokens=8 seed=0" for rule in ("random", "paper", "context")))
    (tmp_path / "config.json").write_text(
        json.dumps({"facts": {"combinations": [*words, words[1].replace("=0", "=1")]}})
    )
    shares: dict[int, list[float | None]] = {
        1: [0.2, 0.4],
        2: [0.3, 0.5],
        3: [0.6, None],
        4: [1.0, 1.0],
    }  # hundredths that are hit of a hundred
    rows = [
        {
            "combination": combination,
            "source_row": place,
            "phrase_index": 0,
            "image_key": f"image {place}",
            "intersection": None if share is None else round(100 * share),
            "predicted_area": None if share is None else round(100 * share),
            "true_area": 100,
        }
        for combination, own in shares.items()
        for place, share in enumerate(own)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "answers.parquet")
    write_pairs(tmp_path, tmp_path / "against.csv")
    with (tmp_path / "against.csv").open(newline="") as file:
        found = {(row["rule"], row["against"]): float(row["difference"]) for row in csv.DictReader(file)}
    assert found == pytest.approx(
        {
            ("paper", "random"): 0.1,
            ("context", "random"): 0.4,  # of the first expression, which both have
            ("random", "context"): -0.4,
            ("paper", "context"): -0.3,
        }
    )
