"""What the sweeps of rules leave behind."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.rules import SWEEPS, _keep


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
