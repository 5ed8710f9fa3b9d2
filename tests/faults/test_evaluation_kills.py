"""Evaluations whose driver or workers are killed: the same answers and results as of one that nobody disturbed."""

from __future__ import annotations

import io
import random
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray

from litelvlm.evaluation.run import evaluate_dataset
from litelvlm.pipeline.exit_codes import EXIT_DONE
from tests.drive import DrivePlan
from tests.evaluation.fakes import FakeEvaluation
from tests.evaluation.samples import evaluation_config, truth_row, write_rows
from tests.faults.harness import LONGEST_S, kill, killer, start_driver, wait_for_markers

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("local_ray")]

NUM_ROWS, NUM_SHARDS = 40, 10
SLOW_S = 0.01  # seconds of the fake model for each combination
MEASURED = {"encode_s", "answer_s", "llm_s"}
WRITES = ["answers", "results.parquet", "results.csv", "evaluation.json", "evaluation.html", "_SUCCESS"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [truth_row(number) for number in range(NUM_ROWS)]
    rows[7]["image"] = {"bytes": b"no image", "path": None}
    rows[23]["masks"] = [None] * len(rows[23]["phrases"])
    return write_rows(tmp_path_factory.mktemp("input") / "in.parquet", rows)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, source: str, local_ray: None) -> Path:
    """The output of an evaluation that nobody disturbed."""
    output = tmp_path_factory.mktemp("whole") / "out"
    assert _evaluate(source, output) == EXIT_DONE
    return output


def _evaluate(source: str, output: Any, **slow: Any) -> Any:
    config = evaluation_config(source, output, run={"shard_images": 4})
    return evaluate_dataset(config, engine=FakeEvaluation(**slow), stream=io.StringIO())


def _results(output: Any) -> Any:
    rows = pq.read_table(output / "results.parquet").to_pylist()
    return [{name: value for name, value in row.items() if name not in MEASURED} for row in rows]


def _compare(whole: Path, output: Any) -> None:
    answers, expected = (pq.read_table(root / "answers.parquet") for root in (output, whole))
    assert answers.equals(expected)
    keys = answers.select(["combination", "source_file", "source_row", "phrase_index"]).to_pylist()
    assert len({tuple(key.values()) for key in keys}) == len(keys)
    assert _results(output) == _results(whole)
    assert (output / "_SUCCESS").read_bytes() == (whole / "_SUCCESS").read_bytes()
    assert not list(output.glob("**/*.tmp-*"))
    assert not list(output.glob("_attempts/**/*.*"))


@pytest.mark.parametrize("seed", range(8))
def test_a_driver_killed_at_a_random_moment(tmp_path: Path, source: str, whole: Path, seed: Any) -> None:
    """Odd seeds: the cluster outlives its driver. Even seeds: everything on the machine dies with it."""
    rng, output = random.Random(seed), tmp_path / "out"
    address = ray.get_runtime_context().gcs_address if seed % 2 else None
    process = start_driver(DrivePlan(source, str(output), SLOW_S, ray_address=address, evaluate=True))
    wait_for_markers(process, output, rng.randrange(NUM_SHARDS))
    time.sleep(rng.uniform(0, 0.3))
    assert kill(process) or (output / "_SUCCESS").exists(), process.stderr.read().decode()
    assert _evaluate(source, output) == EXIT_DONE
    _compare(whole, output)


@pytest.mark.parametrize("write", WRITES)
def test_a_driver_killed_just_before_a_write(tmp_path: Path, source: str, whole: Path, write: Any) -> None:
    output = tmp_path / "out"
    process = start_driver(DrivePlan(source, str(output), 0.0, kill_at=write, evaluate=True))
    _, errors = process.communicate(timeout=LONGEST_S)
    assert process.returncode == -9, errors.decode()
    assert not (output / "_SUCCESS").exists()
    assert _evaluate(source, output) == EXIT_DONE
    _compare(whole, output)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stage", ["EvaluateStage", "DecodeStage"])
def test_a_worker_killed_at_random_moments(tmp_path: Path, source: str, whole: Path, stage: str, seed: Any) -> None:
    output = tmp_path / "out"
    with killer(stage, kills=2, seed=seed) as killed:
        assert _evaluate(source, output, seconds_per_answer=SLOW_S, seconds_per_prepare=10 * SLOW_S) == EXIT_DONE
    assert killed
    _compare(whole, output)
