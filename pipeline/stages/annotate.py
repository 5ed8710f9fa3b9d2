"""The actor that annotates: prepared images in, records with run-length masks out."""

from __future__ import annotations

import dataclasses
import platform
import time
from dataclasses import dataclass

from litelvlm.pipeline.measure.prometheus import ACTOR_METRICS, Meters
from litelvlm.pipeline.ontology import Ontology
from litelvlm.pipeline.shards.attempts import MAX_KILLS
from litelvlm.pipeline.shards.markers import Baseline, ShardFacts
from litelvlm.pipeline.shards.payload import ShardResult, ShardWork
from litelvlm.pipeline.stages.baseline import compare_unpruned
from litelvlm.pipeline.stages.device_clock import DeviceShare
from litelvlm.pipeline.stages.engine import Engine
from litelvlm.pipeline.stages.model_stage import ModelStage, guarded
from litelvlm.pipeline.stages.shard_run import CALL_IMAGES, ShardRun
from litelvlm.pipeline.stages.timed_model import TimedModel, device_name
from litelvlm.pipeline.storage.store import Storage

_BASELINE_KILLED = "the comparison with the unpruned model killed its worker"


@dataclass
class _Comparison:
    """What became of the baseline of a shard."""

    found: Baseline | None = None
    error: str | None = None
    attempts: int = 0


class AnnotateStage(ModelStage[Engine, ShardResult]):
    """A shard's images in, its records out."""

    def __init__(
        self,
        engine: Engine,
        storage: Storage,
        session: str,
        num_threads: int | None,
        run_tag: str = "",
        ontology: Ontology | None = None,
    ) -> None:
        super().__init__(engine, storage, session, num_threads)
        self._compared = False
        self._ontology = ontology
        self._meters = Meters(ACTOR_METRICS, run_tag)

    def process(self, work: ShardWork) -> ShardResult:
        """All records of the shard, in input order."""
        waited_s = max(0.0, time.time() - work.sent_at) if work.sent_at else 0.0
        share = self._share()
        guard = self._guard(work, share)
        model = TimedModel(self._engine, self._annotator, share)
        comparison = self._compare(model, work) if work.task.compared_rows else _Comparison()
        run = ShardRun(self._engine, model, work, self._ontology)
        records = guarded(guard, len(work.images), run.annotate, run.give_up, CALL_IMAGES)
        run.compare(records)
        attempts = max(guard.attempts, comparison.attempts)
        share.settle()
        facts = self._facts(run, work, share, attempts, comparison.error)
        seconds = work.seconds | {"wait": waited_s} | run.seconds | share.seconds
        self._meters.annotated(seconds, facts)
        return ShardResult(shard=work.shard, records=records, seconds=seconds, facts=facts, baseline=comparison.found)

    def _compare(self, model: TimedModel, work: ShardWork) -> _Comparison:
        """The shard's part of the baseline. What fails here, e.g. for want of memory, costs no record.

        It comes before the shard is annotated: afterwards the model would remember its questions, and pruning would
        look faster than it is.
        """
        guard = self._guard(work, model.device, "baseline", prior_kills=MAX_KILLS - 1)  # one death is enough
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

    def _facts(
        self, run: ShardRun, work: ShardWork, share: DeviceShare, attempts: int, baseline_error: str | None
    ) -> ShardFacts:
        done = run.done
        return ShardFacts(
            images=done.images,
            prompts=done.prompts,
            megapixels=sum((image.height or 0) * (image.width or 0) for image in work.images) / 1e6,
            visual_tokens=done.visual_tokens,
            retained_tokens=done.retained_tokens,
            text_tokens=done.text_tokens,
            tflop=self._engine.needed_tflop(done),
            unpruned_tflop=self._engine.needed_tflop(dataclasses.replace(done, retained_tokens=done.visual_tokens)),
            bytes_read=work.bytes_read,
            node=platform.node(),
            device=device_name(self._annotator),
            actor=self._actor,
            attempts=attempts,
            actor_from=share.started_at,
            actor_to=share.ended_at,
            baseline_error=baseline_error,
            formulation=str(self._annotator.formulation),
        )
