"""Drivers to be killed, workers to be killed, and the comparison with a run that nobody disturbed."""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.run import annotate_dataset
from litelvlm.pipeline.storage.store import Storage
from tests.conftest import ROOT
from tests.drive import DrivePlan
from tests.fakes import FakeEngine
from tests.faults.table import FaultTable
from tests.pipeline.samples import final_bytes, read_records, run_config

SHARD_IMAGES = 4
LONGEST_S = 300.0
_AGENTS = ("DashboardAgent", "RuntimeEnvAgent", "dashboard/agent.py", "runtime_env/agent/main.py")


def start_driver(plan: DrivePlan) -> subprocess.Popen[bytes]:
    """A driver in a process group of its own; with a Ray of its own unless the plan names one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["RAY_AUTH_MODE"] = "disabled"
    if plan.ray_address:  # its workers find the project as they are: nothing has to be sent to them
        environment["RAY_JOB_CONFIG_JSON_ENV_VAR"] = "{}"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.drive", *plan.arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_for_markers(process: subprocess.Popen[bytes], output: Path, count: int) -> None:
    """Until the driver's run has committed `count` shards, or has ended."""
    deadline = time.monotonic() + LONGEST_S
    while len(list(output.glob("_done/*.json"))) < count and process.poll() is None:
        assert time.monotonic() < deadline, "the driver committed nothing"
        time.sleep(0.01)


def kill(process: subprocess.Popen[bytes]) -> bool:
    """SIGKILL a driver. Returns whether it was still running; waits until all of its processes are gone.

    Ray's agents hold nothing of a run, and notice only after a minute or two that their node is gone: they are killed
    as well.
    """
    family = [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
    agents = [member for member in family if _is_agent(member)]
    running = process.poll() is None
    if running:
        os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    for agent in agents:
        with contextlib.suppress(psutil.NoSuchProcess):
            agent.kill()
    deadline = time.monotonic() + 60
    while not all(map(_is_gone, family)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return running


def _is_agent(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return any(name in " ".join(process.cmdline()) for name in _AGENTS)
    return False


def _is_gone(process: psutil.Process) -> bool:
    """Whether it runs no more; nobody may be there to reap what a killed driver leaves behind."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def finish(source: str, output: Path, **settings: Any) -> float:
    """Run, or run on, to the end in this process. Returns the seconds it took."""
    started = time.monotonic()
    config = run_config(source, output, shard_images=SHARD_IMAGES, **settings)
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    return time.monotonic() - started


def compare(table: FaultTable, whole: Path, output: Path, *, fault: str, injected: int, resumed_s: float) -> None:
    """Note what the fault did, then insist on the same records and the same bytes as those of the undisturbed run."""
    expected, found = _keys(whole), _keys(output)
    table.add(
        fault=fault,
        injected=injected,
        records_in=len(expected),
        records_out=len(found),
        lost=len(set(expected) - set(found)),
        doubled=len(found) - len(set(found)),
        resumed_s=resumed_s,
    )
    assert found == expected
    assert final_bytes(output) == final_bytes(whole)
    assert (output / "_SUCCESS").exists()
    assert not list(output.glob("**/*.tmp-*"))
    assert not list(output.glob("_attempts/**/*.*"))


def _keys(output: Path) -> list[tuple[str, int, int]]:
    return [(record["source_file"], record["source_row"], record["phrase_index"]) for record in read_records(output)]


@contextlib.contextmanager
def killer(title: str, *, kills: int, seed: int) -> Iterator[list[int]]:
    """SIGKILL worker processes of this session's Ray whose title holds `title`, at random moments of their work.

    Yields the list of the killed processes' ids, which fills while the block runs.
    """
    rng, killed, stop = random.Random(seed), list[int](), threading.Event()

    def hunt() -> None:
        while len(killed) < kills and not stop.wait(rng.uniform(0.05, 0.6)):
            prey = [process for process in workers(title) if process.pid not in killed]
            if prey:
                victim = rng.choice(prey)
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
                    killed.append(victim.pid)

    thread = threading.Thread(target=hunt, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join(timeout=10)


def workers(title: str) -> list[psutil.Process]:
    """Ray's worker processes below this one that are busy with what `title` names."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(title in word for word in process.cmdline()[:1]):
                found.append(process)
    return found


class WorkerKiller(Storage):
    """Kills the worker that does something, once a flag file's worth; never the driver.

    Args:
        root: the output.
        options: of the storage.
        flags: directory with one file per kill that is left.
        moment: "before" or "after" a marker is written; "read" of a data file; "write" of a part.
        driver: process id.
    """

    def __init__(self, root: str, options: dict[str, Any] | None, flags: str, moment: str, driver: int) -> None:
        super().__init__(root, options)
        self._flags, self._moment, self._driver = flags, moment, driver

    def __reduce__(self) -> Any:
        _, (root, options) = super().__reduce__()
        return WorkerKiller, (root, options, self._flags, self._moment, self._driver)

    def read_bytes(self, name: str) -> bytes:
        if name.startswith("shards/") and self._moment == "read":
            self._maybe_die()
        return super().read_bytes(name)

    def open_write(self, name: str) -> Any:
        stream = super().open_write(name)
        if name.startswith(("annotations/", "records/")) and self._moment == "write":
            self._maybe_die()
        return stream

    def create_exclusive(self, name: str, data: bytes) -> bool:
        marker = name.startswith("_done/")
        if marker and self._moment == "before":
            self._maybe_die()
        created = super().create_exclusive(name, data)
        if marker and self._moment == "after":
            self._maybe_die()
        return created

    def _maybe_die(self) -> None:
        if os.getpid() == self._driver:
            return
        for flag in Path(self._flags).iterdir():
            with contextlib.suppress(FileNotFoundError):
                flag.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
