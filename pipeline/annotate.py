"""The actor that holds the model: prepared images in, records with run-length masks out.

Two calls run at once in an actor. A lock keeps the device to one of them; the other encodes masks meanwhile.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from typing import Any

import pyarrow as pa

from pipeline.attempts import Guard
from pipeline.baseline import compare_unpruned
from pipeline.engine import Engine
from pipeline.failures import CheckpointError, run_stage
from pipeline.shard_run import CALL_IMAGES, ShardRun
from pipeline.storage import Storage
from pipeline.work import ShardResult, ShardWork


class AnnotateStage:
    """A callable class for `map_batches(batch_size=1)` on an actor pool."""

    def __init__(self, engine: Engine, storage: Storage, session: str, num_threads: int | None) -> None:
        self._engine = engine
        self._storage = storage
        self._session = session
        self._lock = threading.Lock()
        self._actor = f"{platform.node()}:{os.getpid()}"
        self._annotator: Any = None
        self._load_error: CheckpointError | None = None
        try:
            self._annotator = engine.annotator(num_threads)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            # Raised by the first call: an actor that dies while it starts would be restarted, and its reason lost.
            self._load_error = CheckpointError(str(error) or type(error).__name__)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return run_stage(self.annotate_shard, batch)

    def annotate_shard(self, work: ShardWork) -> ShardResult:
        """All records of the shard, in input order. Raises CheckpointError where there is no model."""
        if self._load_error is not None:
            raise self._load_error
        work.add_seconds("wait", max(0.0, time.time() - work.sent_at) if work.sent_at else 0.0)
        guard = Guard(
            storage=self._storage,
            session=self._session,
            stage="annotate",
            shard_id=work.shard.shard_id,
            prior_kills=work.prior_kills.get("annotate", 0),
        )
        run = ShardRun(self._engine, self._annotator, self._lock, work)
        for units, records in guard.run(len(work.images), run.annotate, batch=CALL_IMAGES):
            run.records.extend(run.give_up(units) if records is None else records)
        facts = self._facts(run, work)
        try:
            baseline = compare_unpruned(run.call, work) if work.baseline_rows else None
        except (RuntimeError, ValueError, MemoryError) as error:  # e.g. too large unpruned: the records are good
            baseline, facts["baseline_error"] = None, f"{type(error).__name__}: {error}"[:500]
        return ShardResult(shard=work.shard, records=run.records, seconds=work.seconds, facts=facts, baseline=baseline)

    def _facts(self, run: ShardRun, work: ShardWork) -> dict[str, Any]:
        return {
            "images": run.num_images,
            "visual_tokens": run.visual_tokens,
            "retained_tokens": run.retained_tokens,
            "text_tokens": run.text_tokens,
            "bytes_read": work.bytes_read,
            "node": platform.node(),
            "device": self._device(),
            "actor": self._actor,
        }

    def _device(self) -> str:
        """Name of the device, e.g. `cpu` or `NVIDIA H100`."""
        model = getattr(self._annotator, "model", None)
        device = getattr(model, "device", "cpu")
        if getattr(device, "type", "cpu") != "cuda":
            return str(device)
        import torch

        return torch.cuda.get_device_name(device)
