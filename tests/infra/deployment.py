"""What the tests of `infra` read: Dockerfile, build context, YAML documents, and the commands in all of them."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from docker.utils.build import exclude_paths

from tests.conftest import ROOT

INFRA = ROOT / "infra"
GUIDE = ROOT / "docs/cluster.md"
IMAGE_NAME = "registry.example.com/litelvlm-annotate"
MANIFESTS = sorted(path for path in INFRA.rglob("*.yaml") if path.parent.name in ("kuberay", "ray-up"))


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction of the Dockerfile, its continued lines joined."""

    name: str
    value: str
    stage: int

    @property
    def words(self) -> list[str]:
        return shlex.split(self.value)

    @property
    def copied(self) -> tuple[list[str], str]:
        """Sources within the build context and the destination of a COPY. Sources of another stage are left out."""
        options = [word for word in self.words if word.startswith("--")]
        *sources, destination = [word for word in self.words if not word.startswith("--")]
        return ([] if any(option.startswith("--from") for option in options) else sources), destination


def dockerfile() -> list[Instruction]:
    lines = [line for line in (INFRA / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", "", "\n".join(lines))
    instructions, stage = [], -1
    for line in filter(None, joined.splitlines()):
        name, value = line.split(maxsplit=1)
        stage += name == "FROM"
        instructions.append(Instruction(name=name, value=value, stage=stage))
    return instructions


def build_arguments() -> dict[str, str]:
    """Defaults of the arguments before the first stage."""
    return dict(item.value.split("=", 1) for item in dockerfile() if item.name == "ARG" and item.stage < 0)


def final_stage(name: str | None = None) -> list[Instruction]:
    """Instructions of the stage that becomes the image; those of one name if given."""
    found = dockerfile()
    return [item for item in found if item.stage == found[-1].stage and name in (None, item.name)]


def image_environment() -> dict[str, str]:
    return dict(word.split("=", 1) for item in final_stage("ENV") for word in item.words)


def build_context() -> set[str]:
    """Files and links that go to the builder, as Docker's own client reads .dockerignore."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    found = exclude_paths(str(ROOT), patterns) - {".dockerignore", "Dockerfile"}  # which it always adds
    return {name for name in found if (ROOT / name).is_file() or (ROOT / name).is_symlink()}


def pins() -> dict[str, str]:
    """Normalised names of constraints.txt to versions."""
    lines = (line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    return {normalised(name): version for name, version in lines}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def document(name: str, kind: str | None = None) -> dict[str, Any]:
    """The document of a manifest, named as below `infra`; the one of that kind where it has several."""
    found = [item for item in documents(INFRA / name) if kind in (None, item.get("kind"))]
    assert len(found) == 1
    return found[0]


def values_of(tree: Any, key: str) -> list[Any]:
    """All values under a key, at any depth."""
    if isinstance(tree, dict):
        own = [tree[key]] if key in tree else []
        return own + [found for value in tree.values() for found in values_of(value, key)]
    return [found for value in tree for found in values_of(value, key)] if isinstance(tree, list) else []


def guide_commands() -> list[str]:
    """Lines of docs/cluster.md's code blocks, continued ones joined."""
    blocks = re.findall(r"^```\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    return [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]


def manifest_commands() -> list[str]:
    """What containers, entrypoints, hooks and Ray's start commands of the manifests run."""
    trees = [tree for path in MANIFESTS for tree in documents(path)]
    found = [" ".join(value.split()) for value in values_of(trees, "entrypoint")]
    found += [value[-1] if value[0] == "/bin/bash" else shlex.join(value) for value in values_of(trees, "command")]
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        found += [command for commands in values_of(trees, key) for command in commands]
    return found


def calls(commands: list[str], pattern: str) -> list[list[str]]:
    """Words of each simple command that begins with the pattern, from there on."""
    found = []
    for command in commands:
        for simple in re.split(r"&&|;|\"\s*$", command):
            if match := re.search(rf"(?:^|[\s\"])({pattern})(?:\s|$)", simple):
                found.append(shlex.split(simple[match.start(1) :]))
    return found
