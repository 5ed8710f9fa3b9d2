"""Shares of the unpruned model, and how alike conditions order the rules."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks.rules_across import Shares, agreement, as_table, in_all, read_shares


def test_shares_are_of_the_unpruned_model_at_default_settings(tmp_path: Path) -> None:
    names = ("slice_by", "rule", "num_retain_tokens", "order", "positions", "giou")
    rows = [
        ("all", "none", 144, "auto", "compact", 0.8),
        ("all", "random", 48, "auto", "compact", 0.4),
        ("all", "random", 48, "auto", "compact", 0.6),
        ("all", "paper", 48, "auto", "compact", 0.6),
        ("all", "paper", 48, "auto", "original", 0.1),
        ("all", "paper", 16, "auto", "compact", 0.2),
        ("kind", "paper", 48, "auto", "compact", 0.1),
    ]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    found = read_shares(tmp_path / "t.csv", (48, 16))
    assert found[48] == pytest.approx({"random": 0.625, "paper": 0.75})
    assert found[16] == pytest.approx({"paper": 0.25})


def test_rules_are_ordered_and_conditions_compared() -> None:
    shares: Shares = {
        ("A", "separate", 48): {"x": 0.9, "y": 0.8, "z": 0.7},
        ("A", "separate", 16): {"x": 0.5, "y": 0.6, "z": 0.7},
        ("B", "shared", 16): {"x": 0.9, "y": 0.8, "w": 0.7},
    }
    assert in_all(shares) == ["x", "y"]
    assert agreement(shares, ["x", "y"]) == [
        {"one": ("A", "separate", 48), "other": ("A", "separate", 16), "spearman": -1}
    ]
    table = as_table(shares, ["x", "y"])
    assert "| `x` | 90 | 50 | 90 | **77** | 50 |" in table
