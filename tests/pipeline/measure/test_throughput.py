"""The throughput table of a real run: where an actor's seconds went, and what adds up to what."""

from __future__ import annotations

import io
import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from litelvlm.jobs.throughput import main as throughput_job
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.measure.throughput import throughput_row
from litelvlm.pipeline.measure.throughput_table import live_table
from litelvlm.pipeline.run import annotate_dataset
from litelvlm.pipeline.schemas import HELD_KINDS, THROUGHPUT_SCHEMA, THROUGHPUT_SUMS
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeAnnotator, FakeEngine, FakeResult
from tests.pipeline.samples import row, run_config, shard_marker, write_table

PRICE = 3.0


@dataclass(frozen=True, kw_only=True)
class WatchedEngine(FakeEngine):
    """Notes when the actor of a process loads its model, and whenever it has annotated: `<directory>/<process id>`."""

    directory: str

    def annotator(self, num_threads: int | None) -> FakeAnnotator:
        self._note()
        time.sleep(0.2)
        return super().annotator(num_threads)

    def annotate(self, *args: Any, **kwargs: Any) -> list[FakeResult]:
        results = super().annotate(*args, **kwargs)
        self._note()
        return results

    def _note(self) -> None:
        with Path(self.directory, str(os.getpid())).open("a") as file:
            print(time.time(), file=file)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    """A run of two actors over 12 shards, some images compared with the unpruned model."""
    root = tmp_path_factory.mktemp("timed")
    rows = [row(number, "a dog", "the red box") for number in range(48)]
    source = write_table(root / "in.parquet", rows, row_group_size=48)
    (root / "watched").mkdir()
    engine = WatchedEngine(seconds_per_image=0.1, seconds_per_prepare=0.005, directory=str(root / "watched"))
    config = run_config(
        source, root / "out", shard_images=4, num_actors=(2, 2), gpu_price=PRICE, gpus_per_actor=0.5, baseline_images=6
    )
    assert annotate_dataset(config, engine=engine, stream=io.StringIO()) == EXIT_DONE
    return root / "out"


@pytest.fixture(scope="module")
def table(output: Path) -> list[dict[str, Any]]:
    return pq.read_table(output / "throughput.parquet").to_pylist()


def test_seconds_held_are_the_wall_time_of_every_actor(output: Path, table: list[dict[str, Any]]) -> None:
    actors = defaultdict(list)
    for shard in table:
        actors[shard["actor"]].append(shard)
    assert len(actors) == 2
    for actor, shards in actors.items():
        watched = Path(output.parent, "watched", actor.rsplit(":", 1)[1]).read_text().split()
        wall_s = float(watched[-1]) - float(watched[0])
        assert sum(shard["held_s"] for shard in shards) == pytest.approx(wall_s, rel=0.05)
        from_to = max(shard["actor_to"] for shard in shards) - min(shard["actor_from"] for shard in shards)
        assert from_to == pytest.approx(wall_s, rel=0.05)
        started = [shard["startup_s"] for shard in shards if shard["startup_s"] > 0]
        assert len(started) == 1
        assert started[0] >= 0.2


def test_the_kinds_of_a_row_are_what_was_done_with_the_device(table: list[dict[str, Any]]) -> None:
    for shard in table:
        assert shard["held_s"] == pytest.approx(sum(shard[f"{kind}_s"] for kind in HELD_KINDS))
        assert shard["annotate_s"] == pytest.approx(shard["sam_s"] + shard["other_s"])
        assert 0.08 <= shard["sam_s"] <= shard["annotate_s"]
        assert shard["decode_s"] >= 4 * 0.005
        assert shard["decode_cpu_s"] > 0
        assert shard["gpu_s"] == pytest.approx(shard["held_s"] * 0.5)
        assert shard["cost"] == pytest.approx(shard["gpu_s"] / 3600 * PRICE)
        assert shard["megapixels"] == pytest.approx(4 * 24 * 32 / 1e6)
        assert (shard["images"], shard["prompts"], shard["phrases"], shard["attempts"]) == (4, 8, 8, 1)
        assert (shard["baseline_s"] > 0) == (shard["baseline_images"] is not None)
    assert sum(shard["baseline_images"] or 0 for shard in table) == 6


def test_rows_sum_to_the_totals_of_the_run(output: Path, table: list[dict[str, Any]]) -> None:
    summary = json.loads((output / "run.json").read_text())
    assert set(summary["totals"]) == set(THROUGHPUT_SUMS)
    for name, total in summary["totals"].items():
        values = [shard[name] for shard in table if shard[name] is not None]
        assert total == (pytest.approx(sum(values)) if values else None), name
    assert summary["cost"] == summary["totals"]["cost"]
    assert summary["totals"]["phrases"] == summary["counts"]["records"]
    assert summary["totals"]["images"] == summary["counts"]["images"]


def test_a_marker_without_some_stages_still_makes_a_row() -> None:
    marker = shard_marker(seconds={"read": 0.1, "annotate": 2.0, "sam": 1.5}, device="NVIDIA L4")
    made = throughput_row(marker, gpus_per_actor=1.0, gpu_price=None)
    assert set(made) == set(THROUGHPUT_SCHEMA.names)
    assert (made["held_s"], made["idle_s"], made["other_s"], made["tflop"], made["mfu"]) == (2.0, 0.0, 0.5, None, None)
    assert (made["shard_id"], made["rows"], made["phrases"], made["bytes_written"]) == ("s", 1, 1, 10)


def test_mfu_is_what_was_needed_of_what_the_device_can_do() -> None:
    devices = {
        "NVIDIA H100 80GB HBM3": 0.25,
        "NVIDIA A100-SXM4-80GB": 399 / 2 / 312,
        "cpu": None,
        "NVIDIA L4": 399 / 2 / 121,
    }
    for device, mfu in devices.items():
        marker = shard_marker(seconds={"annotate": 2.0}, tflop=399.0, device=device)
        assert throughput_row(marker, gpus_per_actor=1.0, gpu_price=None)["mfu"] == (mfu and pytest.approx(mfu))


def test_the_table_can_be_had_from_markers_alone(output: Path, table: list[dict[str, Any]], tmp_path: Path) -> None:
    unfinished = tmp_path / "out"
    for name in ("config.json", "manifest.parquet", *(f"_done/{path.name}" for path in (output / "_done").iterdir())):
        (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
        (unfinished / name).write_bytes((output / name).read_bytes())
    assert live_table(Storage(str(unfinished))).to_pylist() == table
    (unfinished / f"_done/{table[4]['shard_id']}.json").unlink()
    assert live_table(Storage(str(unfinished))).to_pylist() == [*table[:4], *table[5:]]


def test_the_job_shows_a_run_that_goes_on(
    output: Path, table: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.json", "manifest.parquet", f"_done/{table[0]['shard_id']}.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((output / name).read_bytes())
    written = tmp_path / "table.parquet"
    assert throughput_job([str(tmp_path), "--table", str(written), "--gpu-price", "36"]) == 0
    shown = capsys.readouterr().out
    assert "1 of 12" in shown
    assert "8 (8 ok, 0 empty, 0 failed) of 4 images" in shown
    assert pq.read_table(written).to_pylist()[0]["cost"] == pytest.approx(table[0]["cost"] * 36 / PRICE)
    assert throughput_job([str(tmp_path / "nothing")]) == 2
    assert "holds no run" in capsys.readouterr().err
