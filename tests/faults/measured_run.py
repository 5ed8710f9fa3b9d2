"""A run whose processes' memory is watched: `python -m tests.faults.measured_run SOURCE OUTPUT MODEL`.

Prints a JSON line: the peak of the driver and of its largest worker in MiB, private memory only (USS), and the seconds.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time

import psutil

from litelvlm.pipeline.run import annotate_dataset
from tests.fakes import FakeEngine
from tests.pipeline.samples import run_config

_EVERY_S = 0.5


class MemoryWatch:
    """Samples this process and all below it."""

    def __init__(self) -> None:
        self.driver_mib = self.worker_mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        driver = psutil.Process()
        while not self._stop.wait(_EVERY_S):
            self.driver_mib = max(self.driver_mib, _private_mib(driver))
            for worker in driver.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if worker.cmdline()[:1] and worker.cmdline()[0].startswith("ray::"):
                        self.worker_mib = max(self.worker_mib, _private_mib(worker))


def _private_mib(process: psutil.Process) -> float:
    return process.memory_full_info().uss / 2**20


def main(source: str, output: str, model: str) -> int:
    """Run with the fake model, or with the checkpoint named; print the peaks; return the exit code."""
    started = time.monotonic()
    with MemoryWatch() as watch:
        settings = {"num_cpus": 4, "shard_images": 64 if model == "fake" else 16}
        engine = FakeEngine() if model == "fake" else None
        code = annotate_dataset(run_config(source, output, **settings), engine=engine)
    peaks = {"driver_mib": round(watch.driver_mib), "worker_mib": round(watch.worker_mib)}
    print(json.dumps(peaks | {"seconds": round(time.monotonic() - started, 1)}))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
