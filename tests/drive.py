"""A run or an evaluation with the fake model in a process of its own, to be killed."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

from litelvlm.evaluation.run import evaluate_dataset
from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.run import annotate_dataset
from litelvlm.pipeline.shards.markers import done_shards
from litelvlm.pipeline.storage.store import Storage
from tests.evaluation.fakes import FakeEvaluation
from tests.evaluation.samples import evaluation_config
from tests.fakes import FakeEngine
from tests.pipeline.samples import run_config


@dataclass(frozen=True)
class DrivePlan:
    """What to drive: a table, where to, how slowly, and at which write the driver kills itself."""

    source: str
    output: str
    seconds_per_image: float
    kill_at: str | None = None
    ray_address: str | None = None
    evaluate: bool = False

    @property
    def arguments(self) -> list[str]:
        """The command line for `python -m tests.drive`."""
        given = [self.source, self.output, str(self.seconds_per_image)]
        given += ["--kill-at", self.kill_at] if self.kill_at else []
        given += ["--ray-address", self.ray_address] if self.ray_address else []
        return given + (["--evaluate"] if self.evaluate else [])


class DeadlyStorage(Storage):
    """Kills the process that is about to write an object whose name begins with `kill_at`."""

    kill_at = ""

    def write_bytes(self, name: str, data: bytes) -> None:
        self._maybe_die(name)
        super().write_bytes(name, data)

    def create_exclusive(self, name: str, data: bytes) -> bool:
        self._maybe_die(name)
        return super().create_exclusive(name, data)

    def open_write(self, name: str) -> Any:
        self._maybe_die(name)
        return super().open_write(name)

    def _maybe_die(self, name: str) -> None:
        if self.kill_at and name.startswith(self.kill_at):
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    """Run; the exit code is that of the run, 1 where the storage failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("seconds_per_image", type=float)
    parser.add_argument("--kill-at")
    parser.add_argument("--ray-address")
    parser.add_argument("--evaluate", action="store_true")
    plan = DrivePlan(**vars(parser.parse_args()))
    cluster = {"ray_address": plan.ray_address} if plan.ray_address else {"num_cpus": 4}
    settings = {"shard_images": 4, **cluster}
    storage = DeadlyStorage(plan.output)
    storage.kill_at = plan.kill_at or ""
    try:
        if plan.evaluate:
            evaluation = evaluation_config(plan.source, plan.output, run=settings)
            return evaluate_dataset(
                evaluation, engine=FakeEvaluation(seconds_per_answer=plan.seconds_per_image), storage=storage
            )
        config = run_config(plan.source, plan.output, **settings)
        return annotate_dataset(config, engine=FakeEngine(seconds_per_image=plan.seconds_per_image), storage=storage)
    except StorageError as error:
        print(f"storage: {error}; {len(done_shards(storage))} shards are done", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
