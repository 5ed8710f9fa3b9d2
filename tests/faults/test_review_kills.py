"""`review.py` killed by the kernel at random moments, and called again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pipeline.report.report_runs import make_output
from tests.pipeline.review.test_kills import contents
from tests.pipeline.samples import row

pytestmark = pytest.mark.faults

KILLS = 12


def call(*arguments: str | Path, kill_after_s: float | None = None) -> float:
    """Run the job, or kill it after so long. Returns the seconds it took."""
    command = [sys.executable, str(ROOT / "jobs/review.py"), *map(str, arguments)]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said, _ = process.communicate(timeout=kill_after_s)
        assert process.returncode == 0, said
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    return time.monotonic() - started


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hundred images, so that there is something to be killed in."""
    root = tmp_path_factory.mktemp("run")
    make_output(root, [row(number, "the red box", "a dog", "blue thing") for number in range(300)], shard_images=64)
    return root / "out"


@pytest.fixture(scope="module")
def handed_back(run: Path) -> list[Path]:
    """The run's own COCO file twice, each day without some of its masks."""
    content, paths = json.loads((run / "annotations/part-00000.json").read_text()), []
    for day in range(2):
        content["annotations"] = content["annotations"][20:]
        paths.append(run.parent / f"day-{day}.json")
        paths[-1].write_text(json.dumps(content))
    return paths


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_is_lost_or_there_twice(run: Path, handed_back: list[Path], tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    reviewed, killed = tmp_path / "whole", tmp_path / "killed"
    queue = tmp_path / "q.parquet"
    call("queue", run, "--output", queue, "--budget", "200", "--random-share", "1", "--pictures", "0")
    seconds = [call("ingest", run, "--from", day, "--queue", queue, "--output", reviewed) for day in handed_back]
    for day, took in zip(handed_back, seconds, strict=True):
        history: dict[str, bytes] = {}
        for _ in range(KILLS):
            call("ingest", run, "--from", day, "--queue", queue, "--output", killed, kill_after_s=took * rng.random())
            found = contents(killed) if killed.exists() else {}
            assert history.items() <= found.items(), "what was ingested before is there"
            history = {name: data for name, data in found.items() if name.startswith("history/")}
        call("ingest", run, "--from", day, "--queue", queue, "--output", killed)
    assert contents(killed) == contents(reviewed)
    accept = ("accept", run, "--reviewed", reviewed, "--queue", queue, "--output")
    took = call(*accept, tmp_path / "labels")
    for _ in range(KILLS):
        call(*accept, tmp_path / "again", kill_after_s=took * rng.random())
    call(*accept, tmp_path / "again")
    labels, again = (_undated(contents(tmp_path / name)) for name in ("labels", "again"))
    assert labels == again
    assert contents(killed) == contents(reviewed), "accepting writes nothing of what reviewers did"


def _undated(found: dict[str, bytes]) -> dict[str, object]:
    """Without the moment and the names of the folders, which differ; masks and records as they are."""
    dated = {name: found.pop(name) for name in ("report.html", "certificate.json")}
    certificate = json.loads(dated["certificate.json"])
    del certificate["lineage"]["made_at"]
    parts = {name: json.loads(data) for name, data in found.items() if name.startswith("annotations/")}
    for part in parts.values():
        part.pop("info")
    return found | parts | {"certificate": certificate}
