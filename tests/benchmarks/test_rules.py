"""What the sweeps of rules leave behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from PIL import Image

from benchmarks.rules import SWEEPS, _keep, plot_cost


def test_a_sweep_takes_the_place_of_its_earlier_self_alone(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    for name, images in (("shared", 1), ("rules", 2), ("shared", 3)):
        _keep(path, {"sweep": name, "images": images})
    found = json.loads(path.read_text())["sweeps"]
    assert [(one["sweep"], one["images"]) for one in found] == [("rules", 2), ("shared", 3)]
    assert all(one["measured_on"] for one in found)


def test_every_sweep_has_the_unpruned_model_to_compare_with() -> None:
    for flags in SWEEPS.values():
        rules = flags[flags.index("--rules") + 1] if "--rules" in flags else "none"
        assert rules.startswith("none")


def test_cost_is_drawn(tmp_path: Path) -> None:
    names = ("slice_by", "rule", "num_retain_tokens", "giou", "answer_s")
    rows = [("all", "none", 144, 0.8, 0.02), ("all", "paper", 48, 0.7, 0.01), ("all", "paper", 16, 0.6, 0.008)]
    with (tmp_path / "rules.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([names, *rows, ("kind", "paper", 48, 0.1, "")])
    plot_cost(tmp_path / "rules.csv", tmp_path / "cost.png")
    with Image.open(tmp_path / "cost.png") as picture:
        assert picture.size == (990, 605)
