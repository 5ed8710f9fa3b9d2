"""Shares of the unpruned model, and how alike conditions order the rules."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks.rules_across import Shares, agreement, as_table, in_all, read_shares, shares_of


def write_table(path: Path, rows: list[tuple[object, ...]]) -> None:
    names = ("slice_by", "rule", "num_retain_tokens", "order", "positions", "giou")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])


def test_shares_are_of_the_unpruned_model_at_default_settings(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [
        ("all", "none", 144, "auto", "compact", 0.8),
        ("all", "random", 48, "auto", "compact", 0.4),
        ("all", "random", 48, "auto", "compact", 0.6),
        ("all", "paper", 48, "auto", "compact", 0.6),
        ("all", "paper", 48, "auto", "original", 0.1),
        ("all", "paper", 16, "auto", "compact", 0.2),
        ("kind", "paper", 48, "auto", "compact", 0.1),
    ]
    write_table(tmp_path / "t.csv", rows)
    found = read_shares(tmp_path / "t.csv", (48, 16))
    assert found[48] == pytest.approx({"random": 0.625, "paper": 0.75})
    assert found[16] == pytest.approx({"paper": 0.25})


def test_conditions_are_those_that_were_measured(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [("all", "none", 144, "auto", "compact", 0.8)]
    rows += [("all", "random", budget, "auto", "compact", 0.4) for budget in (48, 16)]
    for name in ("a/rules.csv", "a/shared.csv", "b/rules.csv"):
        write_table(tmp_path / name, rows)
    found = shares_of({"A": tmp_path / "a", "B": tmp_path / "b", "C": tmp_path / "c"})
    assert list(found) == [
        (model, layout, budget)
        for model, layout in (("A", "separate"), ("A", "shared"), ("B", "separate"))
        for budget in (48, 16)
    ]
    assert all(own == {"random": 0.5} for own in found.values())


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
