"""The Dockerfile: what it copies is there and complete, what it installs is pinned, and it gives up root."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.conftest import ROOT
from tests.infra.deployment import (
    build_arguments,
    build_context,
    dockerfile,
    final_stage,
    image_environment,
    normalised,
    pins,
    project,
)
from tests.pipeline.samples import row, write_table

CODE = ("litelvlm", "pipeline", "evaluation", "demo", "jobs")
NOT_CODE = {"__pycache__", "output", "results"}


def requirements(tmp_path: Path, extras: str = "") -> list[str]:
    """What the first stage writes, by running its own command."""
    command = next(item.value for item in dockerfile() if item.name == "RUN" and item.stage == 0)
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "EXTRAS": extras}
    subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, env=environment, check=True)
    return (tmp_path / "requirements.txt").read_text().splitlines()


def files_of(package: str) -> set[str]:
    paths = (path.relative_to(ROOT) for path in (ROOT / package).rglob("*") if path.is_file())
    return {str(path) for path in paths if not NOT_CODE & set(path.parts)}


def test_requirements_are_the_project_s_own(tmp_path: Path) -> None:
    assert requirements(tmp_path) == ["boto3", *project()["dependencies"]]
    extras = project()["optional-dependencies"]
    assert requirements(tmp_path, "gcs browser") == [
        "boto3",
        *project()["dependencies"],
        *extras["gcs"],
        *extras["browser"],
    ]


def test_every_package_that_is_installed_is_pinned(tmp_path: Path) -> None:
    wanted = [Requirement(line) for line in requirements(tmp_path, "serve")]
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        one = wanted.pop()
        if (key := (normalised(one.name), frozenset(one.extras))) in seen:
            continue
        seen.add(key)
        extras = one.extras or {""}
        for text in distribution(one.name).requires or []:
            further = Requirement(text)
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                wanted.append(further)
    names = {name for name, _ in seen}
    assert {"torch", "botocore", "jsonschema"} <= names
    assert not names - set(pins())


def test_the_python_of_the_image_is_one_that_the_project_takes() -> None:
    arguments = build_arguments()
    assert arguments["PYTHON_VERSION"] in SpecifierSet(project()["requires-python"])
    bases = [item.value.split()[0] for item in dockerfile() if item.name == "FROM"]
    assert set(bases) == {"python:${PYTHON_VERSION}-slim-${DEBIAN}"}


def test_what_is_copied_reaches_the_builder_and_nothing_else_does() -> None:
    copied = [source for item in dockerfile() if item.name == "COPY" for source in item.copied[0]]
    context = build_context()
    for source in copied:
        assert (ROOT / source).exists()
        assert source in context or any(name.startswith(f"{source}/") for name in context)
    assert not [name for name in context if not any(name == one or name.startswith(f"{one}/") for one in copied)]


@pytest.mark.parametrize("package", CODE)
def test_every_file_of_the_code_reaches_the_builder(package: Any) -> None:
    files = files_of(package)
    assert files
    assert files <= build_context()


@pytest.mark.slow
def test_packages_that_the_code_imports_are_copied() -> None:
    """The project imports `litelvlm` alone, whose links lead to the others."""
    linked = {path.name for path in (ROOT / "litelvlm").iterdir() if path.is_symlink()}
    own = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    copied = {source for item in final_stage("COPY") for source in item.copied[0]}
    imported: set[str] = set()
    for package in CODE:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
                imported |= {name.split(".")[0] for name in names} & own
    assert imported == {"litelvlm"}
    assert imported | linked <= copied


def test_edits_of_code_do_not_install_packages_again() -> None:
    stage = final_stage()
    install = next(index for index, item in enumerate(stage) if item.name == "RUN" and "pip install" in item.value)
    before = {source for item in stage[:install] if item.name == "COPY" for source in item.copied[0]}
    after = {source for item in stage[install:] if item.name == "COPY" for source in item.copied[0]}
    assert before == {"constraints.txt"}
    assert set(CODE) <= after
    words = stage[install].words
    assert words[words.index("--constraint") + 1] == "/requirements/constraints.txt"
    assert words[words.index("--requirement") + 1] == "/requirements/requirements.txt"


def test_the_image_runs_as_a_numbered_user_who_owns_cache_and_models() -> None:
    stage = final_stage()
    users = [item.value for item in stage if item.name == "USER"]
    assert len(users) == 1
    number = users[0].split(":")[0]
    assert int(number) > 0
    last_user = max(index for index, item in enumerate(stage) if item.name == "USER")
    assert not [item for item in stage[last_user:] if item.name in ("RUN", "COPY")]
    system = next(item for item in stage if item.name == "RUN" and "useradd" in item.value).words
    assert system[system.index("--uid") + 1] == number
    assert {"/cache", "/models"} <= set(system[system.index("install", system.index("useradd")) :])
    assert image_environment()["HF_HOME"].startswith("/cache/")


def test_programs_that_others_call_are_installed() -> None:
    """KubeRay's probes, the head of `ray up`, and Triton."""
    words = next(item for item in final_stage("RUN") if "apt-get" in item.value).words
    assert {"wget", "rsync", "openssh-client", "gcc", "libc6-dev"} <= set(words)


@pytest.mark.slow
def test_the_copied_tree_runs_the_shipped_checkpoint_by_itself(tmp_path: Path) -> None:
    """The job prepares a run in a tree made as the Dockerfile makes it, and imports no project code from elsewhere."""
    tree = tmp_path / "image"
    for name in build_context():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name, follow_symlinks=False)
    source = write_table(tmp_path / "in.parquet", [row(0, "the red box")])
    flags = ["--input", source, "--output", str(tmp_path / "out"), "--model", "demo", "--num-retain-tokens", "48"]
    program = (
        "import sys; from litelvlm.jobs.annotate import main; code = main(sys.argv[1:]); "
        f"own = [m.__file__ for n, m in sys.modules.items() if n.split('.')[0] in {CODE!r}]; "
        f"sys.exit(code or '; '.join(path for path in own if not path.startswith({str(tree)!r})) or 0)"
    )
    command = [sys.executable, "-c", program, *flags, "--dry-run"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tree), "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "model                   demo" in done.stdout
