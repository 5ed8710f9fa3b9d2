"""Fixtures shared by all tests."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.table import FaultTable, MemoryTable, write_report

if TYPE_CHECKING:
    from litelvlm import Annotator

# Before any Ray starts, since a process keeps what it began with: its later sessions would not let their workers in.
os.environ |= {"RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_AUTH_MODE": "disabled"}  # so that other processes may join
gc.disable()  # until all is collected: what is imported stays, and need not be looked at again and again
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of as many processes as there are cores
ROOT = Path(__file__).resolve().parents[1]
FAULTS, MEMORY = FaultTable(), MemoryTable()
_ON_RAY = (ROOT / "tests/faults", ROOT / "tests/jobs/test_submit.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-report", type=Path, metavar="FILE", help="write the table of injected faults there")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what needs Ray: `make quick` leaves it out."""
    shares_cluster = "local_ray" in getattr(item, "fixturenames", ())
    if shares_cluster or any(item.path.is_relative_to(path) for path in _ON_RAY):
        item.add_marker(pytest.mark.ray)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or libraries complain that objects outlive them


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of two processes one gets every file that shares the cluster; the other all others, those with a Ray of their own
    among them, so that both end at about the same time."""
    from xdist.scheduler import LoadScopeScheduling

    class RayTogether(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return "ray" if _shares_cluster(ROOT / path) else path

    return RayTogether(config, log)


@functools.cache
def _shares_cluster(path: Path) -> bool:
    return path.is_relative_to(ROOT / "tests/faults") or "local_ray" in path.read_text(encoding="utf-8")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for title, table in (("faults", FAULTS), ("memory", MEMORY)):
        if table.rows:
            terminalreporter.section(title)
            terminalreporter.write_line(table.markdown())
    if report := config.getoption("--faults-report"):
        write_report(report, FAULTS, MEMORY)


@pytest.fixture(scope="session")
def fault_table() -> FaultTable:
    """What the fault suite injected and what came of it."""
    return FAULTS


@pytest.fixture(scope="session")
def memory_table() -> MemoryTable:
    """What runs over large inputs took."""
    return MEMORY


@pytest.fixture(scope="session")
def sam3_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SAM 3 checkpoint of random weights, not to be written to."""
    from tests.sam3_tiny import save_sam3

    return save_sam3(tmp_path_factory.mktemp("sam3") / "sam3-tiny")


@pytest.fixture(scope="session")
def tiny_annotator() -> Annotator:
    """The parity checkpoint: random weights, all the real model's parts."""
    from litelvlm import Annotator
    from tests.parity.fixtures import CLIP_TINY, GLAMM_TINY

    return Annotator.from_pretrained(GLAMM_TINY, clip=CLIP_TINY)


@pytest.fixture(scope="session")
def demo_annotator() -> Annotator:
    """The trained checkpoint that the project ships."""
    from litelvlm import Annotator

    return Annotator.from_pretrained("demo")


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray with 4 logical CPUs, whose workers can import the project and its tests."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # of the node, not of a runtime environment: workers start ahead of use
        _start_ray()
    yield
    ray.shutdown()


def _start_ray(attempts: int = 3) -> None:
    """On a machine with much else to do, a node may miss the 30 seconds that Ray gives it to start."""
    import ray

    for attempt in range(1, attempts + 1):
        try:
            ray.init(
                address="local",
                num_cpus=4,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                # The next test finds the processes of the last one: starting them takes longer than most runs here.
                _system_config={"num_workers_soft_limit": 12, "idle_worker_killing_time_threshold_ms": 600_000},
            )
            return
        except Exception:
            ray.shutdown()
            if attempt == attempts:
                raise
