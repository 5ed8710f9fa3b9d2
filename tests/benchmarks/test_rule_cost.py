"""What an answer costs is measured for every rule, and drawn beside its quality."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import rule_cost
from litelvlm import Annotator


def test_every_rule_and_budget_has_its_cost(demo_annotator: Annotator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_cost, "BUDGETS", (16,))
    monkeypatch.setattr(rule_cost, "RULES", ("none", "context", "fastv"))
    found = rule_cost.measure(demo_annotator, rounds=1, images=1)
    assert [(one["rule"], one["num_retain_tokens"]) for one in found] == [("none", 144), ("context", 16), ("fastv", 16)]
    assert all(0 < one["ms"] <= one["median_ms"] for one in found)


def test_cost_is_drawn(tmp_path: Path) -> None:
    rows = [("all", "none", 144, 0.8), ("all", "paper", 48, 0.7), ("all", "paper", 16, 0.6), ("kind", "paper", 48, 0.1)]
    with (tmp_path / "rules.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("slice_by", "rule", "num_retain_tokens", "giou"), *rows])
    places = (("none", 144), ("paper", 48), ("paper", 16), ("trim", 16))
    costs = [{"rule": rule, "num_retain_tokens": budget, "ms": budget / 10} for rule, budget in places]
    rule_cost.plot_cost(tmp_path / "rules.csv", costs, tmp_path / "cost.png")
    with Image.open(tmp_path / "cost.png") as picture:
        assert picture.size == (990, 605)
