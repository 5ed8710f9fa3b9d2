"""Nothing lost, nothing doubled: the driver is killed for real, twice, and the result is the same to the last byte."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.commit import DataError
from pipeline.finish import merge_run, seal_run
from pipeline.plan import make_plan
from pipeline.run import EXIT_DONE, annotate_dataset
from pipeline.storage import Storage
from tests.fakes import FakeEngine
from tests.pipeline.conftest import ROOT
from tests.pipeline.samples import final_bytes, mixed_rows, run_config, write_table


def start_driver(source: str, output: Path) -> subprocess.Popen:
    """A driver in its own process group, with a Ray of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.drive", source, str(output), "0.05"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def kill_after_markers(process: subprocess.Popen, output: Path, count: int, *, timeout_s: float = 300.0) -> None:
    """SIGKILL the driver as soon as it has committed `count` shards."""
    deadline = time.monotonic() + timeout_s
    while len(list(output.glob("_done/*.json"))) < count:
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline, "the driver committed nothing"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)


def test_a_driver_that_is_killed_is_continued_to_the_same_bytes(tmp_path, local_ray):
    source = write_table(tmp_path / "in.parquet", mixed_rows(60))
    output = tmp_path / "out"
    process = start_driver(source, output)
    kill_after_markers(process, output, 2)
    assert not (output / "_SUCCESS").exists()
    committed = {path.name: path.read_bytes() for path in (output / "_done").glob("*.json")}
    config = run_config(source, output, shard_images=4)
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    for name, content in committed.items():
        assert (output / "_done" / name).read_bytes() == content
    whole = tmp_path / "whole"
    config = run_config(source, whole, shard_images=4)
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    assert final_bytes(output) == final_bytes(whole)


def test_two_drivers_on_one_output_agree(tmp_path, local_ray):
    source = write_table(tmp_path / "in.parquet", mixed_rows(40))
    output = tmp_path / "out"
    process = start_driver(source, output)
    try:
        while not (output / "config.json").exists():
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.02)
        config = run_config(source, output, shard_images=4)
        assert annotate_dataset(config, engine=FakeEngine(seconds_per_image=0.05), stream=io.StringIO()) == EXIT_DONE
        _, errors = process.communicate(timeout=400)
    finally:
        process.kill()
    assert process.returncode == EXIT_DONE, errors.decode()
    whole = tmp_path / "whole"
    config = run_config(source, whole, shard_images=4)
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    assert final_bytes(output) == final_bytes(whole)


@pytest.fixture(scope="module")
def committed(tmp_path_factory, local_ray):
    """A finished run, to be damaged: its plan, configuration and storage."""
    root = tmp_path_factory.mktemp("committed")
    source = write_table(root / "in.parquet", mixed_rows(20))
    config = run_config(source, root / "out")
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    return make_plan(config, revision=FakeEngine().revision()), config, Storage(str(root / "out"))


def test_ending_a_run_twice_changes_nothing(committed):
    plan, config, storage = committed
    before = final_bytes(storage.root)
    seal_run(storage, plan, merge_run(storage, plan, config))
    assert final_bytes(storage.root) == before


def test_orphans_of_dead_attempts_are_swept(committed):
    plan, config, storage = committed
    orphans = [f"shards/{plan.shards[0].shard_id}.deadbeef.parquet", "_attempts/x/decode/all/s.1", "shards/y.tmp-1"]
    for orphan in orphans:
        storage.write_bytes(orphan, b"left over")
    seal_run(storage, plan, merge_run(storage, plan, config))
    assert not any(storage.exists(orphan) for orphan in orphans)


def test_a_damaged_data_file_is_never_merged(committed):
    plan, config, storage = committed
    name = storage.list("shards")[0]
    content = storage.read_bytes(name)
    storage.write_bytes(name, content[:-1] + b"X")
    with pytest.raises(DataError, match="checksum"):
        merge_run(storage, plan, config)
    storage.delete([name])
    with pytest.raises(DataError, match="is gone"):
        merge_run(storage, plan, config)
    storage.write_bytes(name, content)


def test_a_missing_marker_is_never_overlooked(committed):
    plan, config, storage = committed
    name = storage.list("_done")[1]
    content = storage.read_bytes(name)
    storage.delete([name])
    with pytest.raises(DataError, match="1 shards have no marker"):
        merge_run(storage, plan, config)
    storage.write_bytes(name, content)
