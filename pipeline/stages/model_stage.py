"""The actor that holds a model: what annotating and evaluating a shard have in common.

Two calls run at once in an actor. The device is one call's at a time; the other does host work meanwhile. A clock keeps
the time line of the device, see `pipeline.stages.device_clock`.
"""

from __future__ import annotations

import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

import pyarrow as pa
import ray

from litelvlm.pipeline.errors import ModelLoadError, NodeError
from litelvlm.pipeline.shards.attempts import Guard
from litelvlm.pipeline.shards.payload import ShardWork
from litelvlm.pipeline.stages.device_clock import DeviceClock, DeviceShare
from litelvlm.pipeline.stages.engine import Engine, LoadedModel
from litelvlm.pipeline.stages.failures import run_stage
from litelvlm.pipeline.stages.model_thread import on_one_thread
from litelvlm.pipeline.storage.store import Storage

E = TypeVar("E", bound=Engine)
R = TypeVar("R")


class ModelStage(ABC, Generic[E, R]):
    """A callable class for `map_batches(batch_size=1)` on an actor pool; `process` says what is done with a shard."""

    def __init__(self, engine: E, storage: Storage, session: str, num_threads: int | None) -> None:
        self._clock = DeviceClock()
        self._engine = on_one_thread(engine)
        self._storage, self._session = storage, session
        self._actor = f"{platform.node()}:{os.getpid()}"
        self._loaded: LoadedModel | ModelLoadError | NodeError
        try:
            self._loaded = self._engine.annotator(num_threads)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            # Raised by the first call: an actor that dies while it starts would be restarted, and its reason lost.
            self._loaded = _not_loaded(error)
        self._clock.ready()

    def __call__(self, batch: pa.Table) -> pa.Table:
        with self._clock.call():
            return run_stage(self.process, batch)

    @abstractmethod
    def process(self, work: ShardWork) -> R:
        """All rows of a shard. Raises ModelLoadError where there is no model."""

    @property
    def _annotator(self) -> LoadedModel:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded

    def _share(self) -> DeviceShare:
        """A new shard's share of the device."""
        return DeviceShare(self._clock)

    def _guard(
        self, work: ShardWork, share: DeviceShare, stage: str = "annotate", *, prior_kills: int | None = None
    ) -> Guard:
        return Guard(
            storage=self._storage,
            session=self._session,
            stage=stage,
            shard_id=work.shard.shard_id,
            prior_kills=work.task.prior_kills.get(stage, 0) if prior_kills is None else prior_kills,
            alone=lambda: share.hold("annotate"),
        )


def _not_loaded(error: Exception) -> ModelLoadError | NodeError:
    """What does not fit is a mistake in the command; what only this node lacks is that node's fault."""
    reason = str(error) or type(error).__name__
    if isinstance(error, ValueError):
        return ModelLoadError(reason)
    node_id = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
    return NodeError(f"node {platform.node()}: loading the model: {reason}", node_id)


def guarded(
    guard: Guard, num_units: int, process: Callable[[range], list[R]], give_up: Callable[[range], list[R]], batch: int
) -> list[R]:
    """The results for units 0 to `num_units`, in order; those that kill their worker are given up."""
    found: list[R] = []
    for units, results in guard.run(num_units, process, batch=batch):
        found += give_up(units) if results is None else results
    return found
