"""Whatever is killed, and whenever: the same records and the same bytes as a run that nobody disturbed."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray

from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.output import merge
from litelvlm.pipeline.run import annotate_dataset
from litelvlm.pipeline.stages import execute
from tests.conftest import ROOT
from tests.drive import DrivePlan
from tests.fakes import FakeEngine
from tests.faults.harness import (
    LONGEST_S,
    SHARD_IMAGES,
    WorkerKiller,
    compare,
    finish,
    kill,
    killer,
    start_driver,
    wait_for_markers,
)
from tests.pipeline.samples import mixed_rows, run_config, write_table

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("local_ray")]

NUM_ROWS = 60
NUM_SHARDS = NUM_ROWS // SHARD_IMAGES
SLOW_S = 0.04  # seconds of the fake model for each image
SEEDS = [pytest.param(seed, marks=pytest.mark.core if seed < 1 else ()) for seed in range(24)]
FEW_SEEDS = [pytest.param(seed, marks=pytest.mark.core if seed < 1 else ()) for seed in range(5)]
WRITES = ["manifest", "config", "records/", "annotations/", "errors", "throughput", "run.json", "_SUCCESS"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_table(tmp_path_factory.mktemp("input") / "in.parquet", mixed_rows(NUM_ROWS))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, source: str, local_ray: None) -> Path:
    """The output of a run that nobody disturbed."""
    output = tmp_path_factory.mktemp("whole") / "out"
    finish(source, output)
    return output


@pytest.mark.parametrize("seed", SEEDS)
def test_a_driver_killed_at_a_random_moment(
    fault_table: Any, tmp_path: Path, source: str, whole: Path, seed: Any
) -> None:
    """Odd seeds: the cluster outlives its driver. Even seeds: everything on the machine dies with it."""
    rng, output = random.Random(seed), tmp_path / "out"
    address = ray.get_runtime_context().gcs_address if seed % 2 else None
    plan = DrivePlan(source, str(output), SLOW_S, ray_address=address)
    kills = 0
    for _ in range(rng.choice((1, 1, 2))):
        process = start_driver(plan)
        if rng.random() < 0.85:
            wait_for_markers(process, output, rng.randrange(NUM_SHARDS + 1))
        time.sleep(rng.uniform(0, 0.4))
        kills += kill(process)
    assert kills or (output / "_SUCCESS").exists(), process.stderr.read().decode()
    resumed_s = finish(source, output)
    what = "driver killed, cluster goes on" if address else "driver killed with its cluster"
    compare(fault_table, whole, output, fault=what, injected=kills, resumed_s=resumed_s)


@pytest.fixture
def cluster(local_ray: None) -> str:
    """Address of this session's Ray, for drivers whose fault is not about the cluster."""
    address: str = ray.get_runtime_context().gcs_address
    return address


@pytest.mark.parametrize("write", WRITES)
def test_a_driver_killed_just_before_a_write(
    fault_table: Any, tmp_path: Path, source: str, whole: Path, cluster: str, write: Any
) -> None:
    output = tmp_path / "out"
    process = start_driver(DrivePlan(source, str(output), 0.0, kill_at=write, ray_address=cluster))
    _, errors = process.communicate(timeout=LONGEST_S)
    assert process.returncode == -9, errors.decode()
    assert not (output / "_SUCCESS").exists()
    resumed_s = finish(source, output)
    compare(fault_table, whole, output, fault=f"driver killed before {write}", injected=1, resumed_s=resumed_s)


@pytest.mark.parametrize("moment", [pytest.param("before", marks=pytest.mark.core), "after"])
def test_workers_killed_between_data_file_and_marker(
    fault_table: Any, tmp_path: Path, source: str, whole: Path, moment: str
) -> None:
    elapsed = run_with_kills(source, tmp_path, kills=3, moment=moment)
    what = f"worker killed {moment} the marker"
    compare(fault_table, whole, tmp_path / "out", fault=what, injected=3, resumed_s=elapsed)


@pytest.mark.parametrize("moment", [pytest.param("read", marks=pytest.mark.core), "write"])
def test_workers_killed_while_they_merge(
    fault_table: Any, tmp_path: Path, source: str, whole: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "_CHUNK", 2)  # shards that a task reads: some tasks for this run
    elapsed = run_with_kills(source, tmp_path, kills=2, moment=moment)
    what = f"merging worker killed at a {moment}"
    compare(fault_table, whole, tmp_path / "out", fault=what, injected=2, resumed_s=elapsed)


def run_with_kills(source: str, directory: Path, *, kills: int, moment: str) -> float:
    """A run to its end during which workers die. Returns the seconds it took."""
    flags, output = directory / "flags", directory / "out"
    flags.mkdir()
    for number in range(kills):
        (flags / str(number)).touch()
    config = run_config(source, output, shard_images=SHARD_IMAGES)
    storage = WorkerKiller(str(output), None, str(flags), moment, os.getpid())
    started = time.monotonic()
    assert annotate_dataset(config, engine=FakeEngine(), storage=storage, stream=io.StringIO()) == EXIT_DONE
    assert not list(flags.iterdir())
    return time.monotonic() - started


@pytest.mark.parametrize("seed", FEW_SEEDS)
@pytest.mark.parametrize("stage", ["AnnotateStage", "DecodeStage", "ReadStage"])
def test_a_worker_killed_at_random_moments(
    fault_table: Any,
    tmp_path: Path,
    source: str,
    whole: Path,
    stage: str,
    seed: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if stage == "ReadStage":
        monkeypatch.setattr(execute, "_WORTH_A_STAGE", 0)
    output = tmp_path / "out"
    config = run_config(source, output, shard_images=SHARD_IMAGES)
    engine = FakeEngine(seconds_per_image=SLOW_S, seconds_per_prepare=SLOW_S)
    started = time.monotonic()
    with killer(stage, kills=2, seed=seed) as killed:
        assert annotate_dataset(config, engine=engine, stream=io.StringIO()) == EXIT_DONE
    assert killed
    elapsed = time.monotonic() - started
    compare(fault_table, whole, output, fault=f"{stage} worker killed", injected=len(killed), resumed_s=elapsed)


@pytest.mark.parametrize("seed", FEW_SEEDS[:3])
def test_two_drivers_on_one_output(
    fault_table: Any, tmp_path: Path, source: str, whole: Path, cluster: str, seed: Any
) -> None:
    output = tmp_path / "out"
    started = time.monotonic()
    process = start_driver(DrivePlan(source, str(output), SLOW_S, ray_address=cluster))
    wait_for_markers(process, output, (0, 1, NUM_SHARDS - 1)[seed])
    config = run_config(source, output, shard_images=SHARD_IMAGES)
    engine = FakeEngine(seconds_per_image=SLOW_S)
    assert annotate_dataset(config, engine=engine, stream=io.StringIO()) == EXIT_DONE
    _, errors = process.communicate(timeout=LONGEST_S)
    assert process.returncode == EXIT_DONE, errors.decode()
    elapsed = time.monotonic() - started
    compare(fault_table, whole, output, fault="two drivers at once", injected=1, resumed_s=elapsed)


@pytest.mark.parametrize(("scenario", "injected"), [("lost_node", 2), ("late_nodes", 1), ("full_disk", 1)])
def test_a_scenario_with_a_machine_of_its_own(
    fault_table: Any, tmp_path: Path, source: str, whole: Path, scenario: str, injected: int
) -> None:
    """Nodes of a cluster removed half-way; nodes that come late or without the model; a disk that is full meanwhile."""
    output = tmp_path / "out"
    command = [sys.executable, "-m", f"tests.faults.{scenario}", source, str(output)]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    elapsed = time.monotonic() - started
    compare(fault_table, whole, output, fault=scenario.replace("_", " "), injected=injected, resumed_s=elapsed)
