"""Annotating a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TextIO

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.dataset_run import DatasetRun
from litelvlm.pipeline.errors import DataError, FailureRateExceeded, RunError, StageError, StorageError, UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE, EXIT_FAILURE_RATE
from litelvlm.pipeline.export.upright_images import has_images, write_images
from litelvlm.pipeline.measure.progress import Progress
from litelvlm.pipeline.measure.prometheus import DRIVER_METRICS, Meters, run_tag
from litelvlm.pipeline.measure.run_summary import RunSummary
from litelvlm.pipeline.ontology_run import check_ontology
from litelvlm.pipeline.output.finalize import merge_run, seal_run
from litelvlm.pipeline.output.merge import write_errors
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.review.decided import Decided, leave_decided
from litelvlm.pipeline.schemas import RUN_NAME, STATUS_FAILED, status_words
from litelvlm.pipeline.shards.manifest import RunPlan, Shard, make_plan
from litelvlm.pipeline.shards.markers import ShardMarker
from litelvlm.pipeline.shards.payload import ShardTask
from litelvlm.pipeline.stages.choose_engine import choose_engine, fitted
from litelvlm.pipeline.stages.engine import Engine
from litelvlm.pipeline.storage.store import Storage
from litelvlm.pipeline.summary import Summariser
from litelvlm.pipeline.tally import Tally


def annotate_dataset(
    config: RunConfig, *, engine: Engine | None = None, stream: TextIO | None = None, storage: Storage | None = None
) -> int:
    """Annotate a data set. Running it again resumes. Returns the exit code: done or failure rate exceeded.

    `engine` and `storage` default to the model and the output that the configuration names.

    Raises:
        UsageError: a mistake in the configuration or the input, to be shown as one line.
        RunError, StorageError: the cluster or the storage failed; what was committed stays.
    """
    if engine is None:
        try:
            config = fitted(config)
        except ValueError as error:
            raise UsageError(str(error)) from error
        engine = choose_engine(config)
    return AnnotationRun(config, engine, storage=storage, stream=stream).run()


class AnnotationRun(DatasetRun[Engine, ShardMarker]):
    """A run of `jobs/annotate.py`."""

    marker = ShardMarker

    def __init__(
        self, config: RunConfig, engine: Engine, *, storage: Storage | None = None, stream: TextIO | None = None
    ) -> None:
        super().__init__(config, engine, storage=storage, stream=stream)
        self._tally = Tally()
        self._decided = Decided()

    def make_plan(self) -> RunPlan:
        plan = make_plan(self.config, revision=self.engine.revision())
        plan, self._decided = leave_decided(plan, self.config)
        return plan

    def check(self) -> list[str]:
        return [*super().check(), *check_ontology(self.config, self.plan, self.engine)]

    def work(self, *, resumed: bool) -> int:
        self._summary = Summariser(config=self.config, plan=self.plan)
        try:
            return super().work(resumed=resumed)
        except FailureRateExceeded:
            write_errors(self.storage, (s for s in self.plan.shards if s.shard_id in self._done))
            self._write(self._summary.stopped(self._tally))
            self._report()
            self.say(self._failure_line(self._tally, stopped=True))
            return EXIT_FAILURE_RATE
        except (RunError, StageError, DataError, UsageError) as error:
            self._write(self._summary.crashed(self._tally, error))
            raise

    def begin(self, todo: list[Shard]) -> None:
        self._summary.resumed_rows = self._tally.rows
        plan = self.plan
        self.say(
            f"{plan.num_rows} rows of {plan.num_files} files in {len(plan.shards)} shards; "
            f"{len(plan.shards) - len(todo)} shards are done, {len(todo)} to do"
        )

    @contextmanager
    def session(self, todo: list[Shard]) -> Iterator[None]:
        self._progress = progress = Progress(
            rows_total=self.plan.num_rows,
            rows_done=self._tally.rows,
            gpu_price=self.config.gpu_price,
            gpus_per_actor=self.config.cluster.gpus_per_actor,
            stream=self.stream,
        )
        self._meters = Meters(DRIVER_METRICS, run_tag(self.plan.fingerprint))
        self._meters.began(num_shards_left=len(todo))
        try:
            yield
        finally:
            progress.close()
            self._summary.note(progress)
            self._summary.device = self.footing.device if self.footing else None
            self._summary.executions = self.executions

    def count(self, marker: ShardMarker) -> None:
        self._tally.add(marker)

    def committed(self, marker: ShardMarker) -> None:
        row = self._progress.add(marker)
        self._meters.committed(row, num_shards_left=self.num_left, eta_s=self._progress.eta_s)
        if self._tally.exceeds(self.config.max_failure_rate, num_rows=self.plan.num_rows):
            raise FailureRateExceeded

    def actor(self, engine: Engine, session: str, num_threads: int) -> tuple[type, tuple[Any, ...]]:
        from litelvlm.pipeline.stages.annotate import AnnotateStage

        tag = run_tag(self.plan.fingerprint)
        return AnnotateStage, (engine, self.storage, session, num_threads, tag, self.config.source.ontology)

    def commit_stage(self) -> Any:
        from litelvlm.pipeline.stages.commit import CommitStage

        return CommitStage(storage=self.storage)

    def task(self, shard: Shard, prior_kills: dict[str, int]) -> ShardTask:
        compared = frozenset(self._compared.get(shard.shard_id, ()))
        return ShardTask(
            shard=shard,
            prior_kills=prior_kills,
            decided=self._decided.by_shard.get(shard.shard_id, {}),
            compared_rows=compared,
            truth_rows=compared,
        )

    def finish(self) -> int:
        from litelvlm.pipeline.heartbeat import Paced

        paced, num_shards = Paced(self.say), len(self.plan.shards)
        totals = merge_run(
            self.storage,
            self.plan,
            self.config,
            watch=lambda num_read: paced(f"merging: {num_read} of {num_shards} shards are read"),
        )
        failed = totals.statuses[STATUS_FAILED]
        exceeded = failed > self.config.max_failure_rate * totals.records
        self._write(self._summary.finished(totals, exceeded=exceeded, storage=self.storage))
        self._report()
        if exceeded:
            tally = Tally(rows=totals.rows, records=totals.records, failed=failed, reasons=totals.reasons)
            self.say(self._failure_line(tally, stopped=False))
            return EXIT_FAILURE_RATE
        seal_run(self.storage, self.plan, totals)
        self.complete()
        counts = status_words(totals.statuses)
        self.say(f"done: {totals.records} records of {totals.images} images ({counts}) in {self.storage.root}")
        return EXIT_DONE

    def lacks_something(self) -> bool:
        return self.config.write_images and not has_images(self.storage)

    def complete(self) -> int:
        if self.config.write_images:
            write_images(self.storage, self.config, self.say)
        return EXIT_DONE

    @cached_property
    def _compared(self) -> Mapping[str, tuple[int, ...]]:
        """Rows that are annotated unpruned as well, by shard."""
        from litelvlm.pipeline.stages.baseline import choose_rows

        num_rows = self.config.baseline_images
        return choose_rows(self.plan.shards, num_rows, self.config.source.sample) if num_rows else {}

    def _write(self, summary: RunSummary) -> None:
        self.storage.write_bytes(RUN_NAME, summary.to_json())

    def _report(self) -> None:
        """`report.html`. A run is good without: whatever keeps it from being drawn becomes a line."""
        from litelvlm.pipeline.report.write import write_report

        try:
            write_report(self.storage, self.config, self.policy)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - the report shows what others wrote: it must not undo their work
            redact = Redactor(self.config.storage_options)
            self.say(f"report.html is not written: {redact(f'{type(error).__name__}: {error}')}")

    def _failure_line(self, tally: Tally, *, stopped: bool) -> str:
        top = "; ".join(f"{count} x {reason}" for reason, count in tally.reasons.most_common(3))
        what = "stopped early" if stopped else "ended"
        return (
            f"error: {what}: {tally.failed} of {tally.records} records failed, more than --max-failure-rate "
            f"{self.config.max_failure_rate} allows. Most frequent: {top}. The work is kept; "
            "see errors.parquet and run.json"
        )
