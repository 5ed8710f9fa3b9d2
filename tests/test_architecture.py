"""Dependencies point one way: jobs -> evaluation -> pipeline -> litelvlm."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {
    "litelvlm": {"ray", "pyarrow", "fsspec", "s3fs", "pipeline", "evaluation", "jobs", "demo", "pycocotools"},
    "pipeline": {"evaluation", "jobs", "demo"},
    "evaluation": {"jobs", "demo"},
    "jobs": {"demo"},
}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_imports_point_one_way(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    offenders = {str(f.relative_to(ROOT)): _imports(f) & FORBIDDEN[package] for f in files}
    assert not {name: found for name, found in offenders.items() if found}


# Objects that Ray moves between this run's own processes; nothing that a user or a store hands in.
PICKLES_OF_OUR_OWN = {"pipeline/shards/work.py"}


def test_nothing_from_outside_is_unpickled_or_evaluated():
    """Weights are read with `weights_only`, everything else is JSON, YAML's safe subset or Parquet."""
    offenders = []
    for package in FORBIDDEN:
        for path in (ROOT / package).rglob("*.py"):
            name, text = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
            calls = ["yaml.load(", "yaml.unsafe_load", "shell=True"]
            calls += [] if name in PICKLES_OF_OUR_OWN else ["pickle.load"]
            offenders += [(name, call) for call in calls if call in text]
            if "torch.load(" in text and "weights_only=True" not in text:
                offenders.append((name, "torch.load"))
    assert not offenders
