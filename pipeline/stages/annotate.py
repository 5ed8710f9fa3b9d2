"""The actor that holds the model: prepared images in, records with run-length masks out.

Two calls run at once in an actor. The device is one call's at a time; the other encodes masks meanwhile. A clock keeps
the time line of the device, see `pipeline.stages.device_clock`.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from litelvlm.flops import Workload, needed_flop
from litelvlm.pipeline.errors import ModelLoadError
from litelvlm.pipeline.measure.prometheus import ACTOR_METRICS, Meters
from litelvlm.pipeline.shards.attempts import MAX_KILLS, Guard
from litelvlm.pipeline.shards.payload import ShardResult, ShardWork
from litelvlm.pipeline.stages.baseline import compare_unpruned
from litelvlm.pipeline.stages.device_clock import DeviceClock, DeviceShare
from litelvlm.pipeline.stages.engine import Engine
from litelvlm.pipeline.stages.failures import run_stage
from litelvlm.pipeline.stages.model_thread import ModelThread
from litelvlm.pipeline.stages.shard_run import CALL_IMAGES, ShardRun
from litelvlm.pipeline.stages.timed_model import TimedModel, device_name
from litelvlm.pipeline.storage.store import Storage

_BASELINE_KILLED = "the comparison with the unpruned model killed its worker"


@dataclass
class _Comparison:
    """What became of the baseline of a shard."""

    found: dict[str, Any] | None = None
    error: str | None = None
    attempts: int = 0


class AnnotateStage:
    """A callable class for `map_batches(batch_size=1)` on an actor pool."""

    def __init__(
        self, engine: Engine, storage: Storage, session: str, num_threads: int | None, run_tag: str = ""
    ) -> None:
        self._clock = DeviceClock()
        self._engine: Any = ModelThread(engine)
        self._storage = storage
        self._session = session
        self._actor = f"{platform.node()}:{os.getpid()}"
        self._annotator: Any = None
        self._load_error: ModelLoadError | None = None
        self._compared = False
        try:
            self._annotator = self._engine.annotator(num_threads)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            # Raised by the first call: an actor that dies while it starts would be restarted, and its reason lost.
            self._load_error = ModelLoadError(str(error) or type(error).__name__)
        self._clock.ready()
        self._meters = Meters(ACTOR_METRICS, run_tag)

    def __call__(self, batch: pa.Table) -> pa.Table:
        with self._clock.call():
            return run_stage(self.annotate_shard, batch)

    def annotate_shard(self, work: ShardWork) -> ShardResult:
        """All records of the shard, in input order. Raises ModelLoadError where there is no model."""
        if self._load_error is not None:
            raise self._load_error
        work.add_seconds("wait", max(0.0, time.time() - work.sent_at) if work.sent_at else 0.0)
        guard = self._guard(work, "annotate", prior_kills=work.prior_kills.get("annotate", 0))
        share = DeviceShare(self._clock)
        model = TimedModel(self._engine, self._annotator, share)
        comparison = self._compare(model, work) if work.baseline_rows else _Comparison()
        run = ShardRun(self._engine, model, work)
        for units, records in guard.run(len(work.images), run.annotate, batch=CALL_IMAGES):
            run.records.extend(run.give_up(units) if records is None else records)
        facts = self._facts(run, work) | {"attempts": max(guard.attempts, comparison.attempts)}
        if comparison.error is not None:
            facts["baseline_error"] = comparison.error
        share.settle()
        facts |= {"actor_from": share.started_at, "actor_to": share.ended_at}
        seconds = work.seconds | share.seconds
        self._meters.annotated(seconds, facts)
        return ShardResult(
            shard=work.shard, records=run.records, seconds=seconds, facts=facts, baseline=comparison.found
        )

    def _compare(self, model: TimedModel, work: ShardWork) -> _Comparison:
        """The shard's part of the baseline. What fails here, e.g. for want of memory, costs no record.

        It comes before the shard is annotated: afterwards the model would remember its questions, and pruning would
        look faster than it is.
        """
        guard = self._guard(work, "baseline", prior_kills=MAX_KILLS - 1)  # one death is enough
        comparison = _Comparison()
        try:
            with model.device.hold("baseline"):  # before an attempt is counted: the other call's death is not its own
                for _, found in guard.run(1, lambda _: [compare_unpruned(model, work, warm_up=not self._compared)]):
                    if found is None:
                        comparison.error = _BASELINE_KILLED
                    else:
                        comparison.found = found[0]
                        self._compared = self._compared or comparison.found is not None
        except (RuntimeError, ValueError, MemoryError) as error:
            comparison.error = f"{type(error).__name__}: {error}"[:500]
        comparison.attempts = guard.attempts
        return comparison

    def _guard(self, work: ShardWork, stage: str, *, prior_kills: int) -> Guard:
        return Guard(
            storage=self._storage,
            session=self._session,
            stage=stage,
            shard_id=work.shard.shard_id,
            prior_kills=prior_kills,
        )

    def _facts(self, run: ShardRun, work: ShardWork) -> dict[str, Any]:
        return {
            "images": run.num_images,
            "prompts": run.num_prompts,
            "megapixels": sum((image.height or 0) * (image.width or 0) for image in work.images) / 1e6,
            "visual_tokens": run.visual_tokens,
            "retained_tokens": run.retained_tokens,
            "text_tokens": run.text_tokens,
            "tflop": self._tflop(run, run.retained_tokens),
            "unpruned_tflop": self._tflop(run, run.visual_tokens),
            "bytes_read": work.bytes_read,
            "node": platform.node(),
            "device": device_name(self._annotator),
            "actor": self._actor,
        }

    def _tflop(self, run: ShardRun, retained_tokens: int) -> float | None:
        """Needed operations, 1e12, with so many visual tokens; None for a model whose sizes are not known."""
        if (config := getattr(self._annotator, "config", None)) is None:
            return None
        work = Workload(
            images=run.num_images,
            prompts=run.num_prompts,
            phrases=run.num_asked,
            retained_tokens=self._engine.tokens_read(run.visual_tokens, retained_tokens, config.llm.num_hidden_layers),
            text_tokens=run.text_tokens,
            scored_texts=run.num_asked if retained_tokens < run.visual_tokens and self._engine.scores_text else 0,
            shared=getattr(getattr(self._engine, "model", None), "layout", None) == "shared",
        )
        return sum(needed_flop(config, work).values()) / 1e12
