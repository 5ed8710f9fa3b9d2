"""The wheel, installed into an environment of its own and used from another directory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.evaluation.records import TRUTH_SCHEMA
from litelvlm.pipeline.masks import encode_mask
from tests.conftest import ROOT
from tests.infra.deployment import project
from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY
from tests.pipeline.samples import picture, png

pytestmark = [pytest.mark.slow, pytest.mark.ray]

DATA = {
    "litelvlm/py.typed",
    "litelvlm/demo_checkpoint/model.safetensors",
    "litelvlm/evaluation/report/published.json",
    "litelvlm/evaluation/report/templates/evaluation.html",
    "litelvlm/pipeline/planner/prices.yaml",
    "litelvlm/pipeline/report/templates/report.html",
}


@dataclass(frozen=True, kw_only=True)
class Installed:
    """An environment that holds the wheel, and a directory to work in."""

    scripts: Path
    here: Path

    def run(self, script: str, *arguments: str) -> str:
        """What a program of the environment prints. Nothing of the checkout is on its path."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [self.scripts / script, *arguments]
        done = subprocess.run(command, cwd=self.here, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def build(source: Path, target: Path, kind: str) -> Path:
    """The wheel or the sdist of a source tree, made by the project's own build backend."""
    target.mkdir()
    program = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(target)!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a clean copy of the checkout, by way of its sdist, as a release is made."""
    root = tmp_path_factory.mktemp("built")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    copy = root / "copy"
    for name in filter(None, names.split("\0")):
        if not name.startswith("tests/") and os.path.lexists(ROOT / name):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name, follow_symlinks=False)
    sdist = build(copy, root / "sdist", "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(root / "unpacked", filter="data")
    [unpacked] = (root / "unpacked").iterdir()
    return build(unpacked, root / "wheel", "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "venv"], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(root / "venv")}))
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", root / "venv/bin/python", "install", "--quiet", "--no-deps", wheel],
        check=True,
    )
    # The dependencies are those of the tests; an addsitedir would bring their editable project along.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    here = root / "elsewhere"
    here.mkdir()
    rows = [truth_row(number) for number in range(3)]
    pq.write_table(pa.Table.from_pylist(rows, schema=TRUTH_SCHEMA), here / "in.parquet")
    return Installed(scripts=root / "venv/bin", here=here)


def truth_row(number: int) -> dict[str, object]:
    rgb = picture(number)
    mask = np.zeros(rgb.shape[:2], dtype=bool)
    mask[2:9, 3:12] = True
    return {
        "image_id": f"i{number}",
        "image": {"bytes": png(rgb), "path": None},
        "phrases": ["the red circle"],
        "masks": [encode_mask(mask).as_coco()],
        "sentence_ids": [f"s{number}"],
        "kinds": ["circle"],
        "split": "val",
    }


def test_it_holds_one_package_with_its_data_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {
        "litelvlm",
        wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info",
    }
    assert names >= DATA
    strange = [name for name in names if not name.endswith(".py") and "/demo/" in name]
    assert not strange  # neither outputs nor results
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "pipeline").rglob("*.py")}
    assert {f"litelvlm/{name}" for name in modules} <= names


def test_the_code_that_runs_is_the_installed_one(installed: Installed) -> None:
    program = "import litelvlm.pipeline.run as run, litelvlm.jobs.annotate as job; print(run.__file__, job.__file__)"
    files = installed.run("python", "-c", program).split()
    assert all(Path(name).is_relative_to(installed.scripts.parent) for name in files)


def test_no_name_of_others_is_taken(installed: Installed) -> None:
    names = "jobs", "demo", "pipeline", "evaluation"
    program = f"import importlib.util as u; print([name for name in {names} if u.find_spec(name)])"
    assert installed.run("python", "-c", program).strip() == "[]"


def test_every_command_explains_itself(installed: Installed) -> None:
    for script in project()["scripts"]:
        assert f"usage: {script.removeprefix('litelvlm-')}" in installed.run(script, "--help").replace("_", "-")


def test_a_command_does_its_work(installed: Installed) -> None:
    asked = ["--input", "in.parquet", "--output", "dry", "--num-retain-tokens", "48"]
    assert "rows to annotate" in installed.run("litelvlm-annotate", *asked, "--dry-run")


def test_every_job_does_its_work(installed: Installed) -> None:
    """In one process, since each takes long to import: what a command adds to its job is tested above."""
    jobs = [
        ("annotate", ["--input", "in.parquet", "--output", "out", "--num-retain-tokens", "48", "--shard-images", "1"]),
        ("throughput", ["out"]),
        ("prepare", ["--input", "in.parquet", "--output", "table", "--rows-per-group", "2"]),
        ("report", ["out"]),
        ("review", ["queue", "out", "--output", "q.parquet", "--budget", "9"]),
        ("export", ["out", "--to", "yolo-seg", "--images", "--output", "labels"]),
        ("plan", ["--run", "out", "--images", "1000", "--phrases-per-image", "1"]),
        ("ground_truth", ["table", "--input", "in.parquet", "--output", "truth.parquet", "--mask-column", "masks"]),
        (
            "evaluate",
            ["--input", "truth.parquet", "--output", "evaluated", "--rules", "none", "--bootstrap-samples", "10"],
        ),
        ("convert", ["--model", str(GLAMM_TINY), "--clip", str(CLIP_TINY), "--output", "converted"]),
    ]
    program = (
        "import importlib, ray; ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False); "
        f"codes = [importlib.import_module('litelvlm.jobs.' + name).main(given) for name, given in {jobs!r}]; "
        "print('codes', codes)"
    )
    printed = installed.run("python", "-c", program)
    assert f"codes {[0] * len(jobs)}" in printed
    assert "3 of 3" in printed  # of throughput
    assert "cpu-2" in printed  # of the plan
    summary = json.loads((installed.here / "out/run.json").read_text())
    assert (summary["state"], summary["counts"]["records"], summary["counts"]["failed"]) == ("done", 3, 0)
    assert "<html" in (installed.here / "out/report.html").read_text()
    assert pq.read_table(installed.here / "truth.parquet").num_rows == 3
    assert json.loads((installed.here / "evaluated/evaluation.json").read_text())["answers"] == 3
    assert (installed.here / "converted/config.json").exists()
