"""Dependencies point one way, jobs -> evaluation -> pipeline -> litelvlm, and go in no circle."""

from __future__ import annotations

import ast
import functools
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("litelvlm", "pipeline", "evaluation", "jobs", "demo")  # all but the first are links inside the first
FORBIDDEN = {
    "litelvlm": {"ray", "pyarrow", "fsspec", "s3fs", "pycocotools", *(f"litelvlm.{one}" for one in FOLDERS[1:])},
    "pipeline": {"litelvlm.evaluation", "litelvlm.jobs", "litelvlm.demo"},
    "evaluation": {"litelvlm.jobs", "litelvlm.demo"},
    "jobs": {"litelvlm.demo"},
}

GROUND = {
    "boundary",
    "config",
    "cpus",
    "contracts",
    "errors",
    "exit_codes",
    "footing",
    "masks",
    "ontology",
    "plain_yaml",
    "redact",
    "schemas",
    "settings",
}
#: What the packages of `pipeline` may import of it besides the ground floor, whose files import only each other.
ALLOWED = {
    "images": set(),
    "storage": set(),
    "fetch": {"storage"},
    "table": {"storage", "images"},
    "shards": {"table", "storage"},
    "measure": {"shards", "storage"},
    "output": {"shards", "measure", "images", "storage"},
    "stages": {"output", "fetch", "table", "shards", "measure", "images", "storage"},
    "report": {"fetch", "table", "shards", "measure", "images", "storage"},
    "planner": {"report", "measure", "storage"},
    "export": {"output", "fetch", "table", "shards", "measure", "images", "storage", "cluster"},
    "review": {"export", "output", "report", "fetch", "table", "shards", "measure", "images", "storage", "cluster"},
    "compare": {"review", "output", "report", "fetch", "shards", "measure", "storage"},
    "serving": {
        "review",
        "export",
        "stages",
        "output",
        "fetch",
        "shards",
        "images",
        "storage",
        "cluster",
    },
    "prepare": {"output", "fetch", "table", "measure", "images", "storage", "cluster"},
}
#: The packages that import nothing of `pipeline` but themselves, not even the ground floor.
ALONE = {"images"}


def _files(folder: str) -> list[Path]:
    """Python files of a folder, without those behind links."""
    return sorted(path for path in (ROOT / folder).rglob("*.py") if path.resolve() == path)


class Source(NamedTuple):
    """What the tests below look at in a file: its imports, wherever they stand, those at its top, and whether it
    defines a function."""

    imports: list[ast.Import | ast.ImportFrom]
    at_top: list[ast.ImportFrom]
    has_logic: bool


@functools.cache
def _source(path: Path) -> Source:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    has_logic = any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes)
    return Source(imports, [node for node in tree.body if isinstance(node, ast.ImportFrom)], has_logic)


@functools.cache
def _modules(path: Path) -> frozenset[str]:
    """Dotted names that a file imports: modules, and what is taken out of packages."""
    found: set[str] = set()
    for node in _source(path).imports:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def _under(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("folder", sorted(FORBIDDEN))
def test_imports_point_one_way(folder: str) -> None:
    files = _files(folder)
    assert files
    found = {str(f.relative_to(ROOT)): {one for one in _modules(f) if _under(one, FORBIDDEN[folder])} for f in files}
    assert not {name: names for name, names in found.items() if names}


def _rooms_imported(path: Path) -> set[str]:
    """Packages and single files of `pipeline` that a file imports."""
    names = (name.split(".") for name in _modules(path) if name.startswith("litelvlm.pipeline."))
    return {parts[2] for parts in names}


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_the_packages_of_the_pipeline_build_on_those_below(room: str) -> None:
    allowed = ALLOWED[room] | {room} | (set() if room in ALONE else GROUND)
    found = {path.name: _rooms_imported(path) - allowed for path in _files(f"pipeline/{room}")}
    assert found
    assert not {name: rooms for name, rooms in found.items() if rooms}


def test_the_ground_floor_imports_itself_alone() -> None:
    assert {path.name for path in (ROOT / "pipeline").iterdir() if path.is_dir() and path.name in GROUND} == set()
    found = {name: _rooms_imported(ROOT / "pipeline" / f"{name}.py") - GROUND for name in GROUND}
    assert not {name: rooms for name, rooms in found.items() if rooms}


def test_every_package_of_the_pipeline_is_in_the_table() -> None:
    assert {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")} == set(ALLOWED)


def test_there_is_one_import_package() -> None:
    """What a wheel installs must not collide with other people's `pipeline`, `jobs` or `demo`."""
    folders = set(FOLDERS[1:])
    files = [path for folder in (*FOLDERS, "tests", "benchmarks") for path in _files(folder)]
    assert not {str(path.relative_to(ROOT)) for path in files if {n.split(".")[0] for n in _modules(path)} & folders}


def test_no_file_imports_itself_by_a_detour() -> None:
    files = {_dotted(path): path for folder in FOLDERS for path in _files(folder)}
    graph = {name: {one for one in _modules(path) if one in files and one != name} for name, path in files.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_names_are_imported_from_the_file_that_defines_them() -> None:
    """But for `litelvlm` itself, the public face, nothing is handed on by a file that imported it."""
    files = {_dotted(path): path for folder in (*FOLDERS, "tests", "benchmarks") for path in _files(folder)}
    handed_on = {name: _imported_names(path) for name, path in files.items() if name != "litelvlm"}
    offenders = []
    for name, path in files.items():
        for node in _source(path).imports:
            if isinstance(node, ast.ImportFrom):
                names = {alias.name for alias in node.names}
                offenders += [(name, f"{node.module}.{one}") for one in names & handed_on.get(node.module or "", set())]
    assert not offenders


def _imported_names(path: Path) -> set[str]:
    """Names that a file has from other files."""
    return {alias.asname or alias.name for node in _source(path).at_top for alias in node.names}


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(("litelvlm", *parts) if parts[0] in FOLDERS[1:] else parts)
    return name.removesuffix(".__init__")


def test_every_file_with_logic_has_its_test_file() -> None:
    """A test lies where the code lies; only files of constants and data alone, and `__init__.py`, need none."""
    files = [path.relative_to(ROOT) for folder in FOLDERS for path in _files(folder) if path.name != "__init__.py"]
    with_logic = [path for path in files if _source(ROOT / path).has_logic]
    assert len(with_logic) > 100
    assert not [str(path) for path in with_logic if not (ROOT / "tests" / path.parent / f"test_{path.name}").is_file()]


# Objects that Ray moves between this run's own processes; nothing that a user or a store hands in.
PICKLES_OF_OUR_OWN = {"pipeline/shards/payload.py"}


def test_nothing_from_outside_is_unpickled_or_evaluated() -> None:
    """Weights are read with `weights_only`, everything else is JSON, YAML's safe subset or Parquet."""
    offenders = []
    for folder in FOLDERS:
        for path in _files(folder):
            name, text = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
            calls = ["yaml.load(", "yaml.unsafe_load", "shell=True"]
            calls += [] if name in PICKLES_OF_OUR_OWN else ["pickle.load"]
            offenders += [(name, call) for call in calls if call in text]
            if "torch.load(" in text and "weights_only=True" not in text:
                offenders.append((name, "torch.load"))
    assert not offenders
