"""A run from configuration to exit code: plan, claim the output, execute what is left, finish."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TextIO

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.errors import (
    MISTAKES,
    DataError,
    FailureRateExceeded,
    RunError,
    StageError,
    StorageError,
    UsageError,
)
from litelvlm.pipeline.exit_codes import EXIT_DONE, EXIT_FAILURE_RATE
from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.measure.progress import Progress
from litelvlm.pipeline.measure.prometheus import DRIVER_METRICS, Meters, run_tag
from litelvlm.pipeline.output.finalize import done_shards, is_finished, merge_run, seal_run
from litelvlm.pipeline.output.merge import MergeTotals, read_ahead, write_errors
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.schemas import STATUS_FAILED
from litelvlm.pipeline.shards.claim import claim_output, refuse_others
from litelvlm.pipeline.shards.manifest import Plan, Shard, make_plan
from litelvlm.pipeline.stages.commit import find_marker
from litelvlm.pipeline.stages.engine import Engine, LiteLVLMEngine
from litelvlm.pipeline.stages.failures import is_cluster_failure
from litelvlm.pipeline.storage.filesystems import is_local
from litelvlm.pipeline.storage.store import Storage
from litelvlm.pipeline.summary import RunSummary, write_summary

_MAX_STALLED = 3  # executions in a row that committed nothing
_MAX_REASONS = 1_000  # reasons are free text: their table must not grow with the input


@dataclass(kw_only=True)
class Tally:
    """Records so far, those of earlier sessions included."""

    rows: int = 0
    records: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    shard_ids: set[str] = field(default_factory=set)

    def add(self, marker: dict[str, Any]) -> bool:
        """Count a shard's marker. Returns whether it is new."""
        if marker["shard_id"] in self.shard_ids:
            return False
        self.shard_ids.add(marker["shard_id"])
        self.rows += marker["rows"]
        self.records += marker["records"]
        self.failed += marker[STATUS_FAILED]
        self.reasons.update(marker["reasons"])
        if len(self.reasons) > 2 * _MAX_REASONS:
            self.reasons = Counter(dict(self.reasons.most_common(_MAX_REASONS)))
        return True

    def exceeds(self, rate: float, *, num_rows: int) -> bool:
        """Whether the failed records are too many even if none of the rows that are left fails."""
        expected = self.records / self.rows * num_rows if self.rows else 0.0
        return self.failed > rate * max(expected, self.records)


def annotate_dataset(
    config: RunConfig, *, engine: Engine | None = None, stream: TextIO | None = None, storage: Storage | None = None
) -> int:
    """Annotate a data set. Running it again resumes. Returns the exit code: done or failure rate exceeded.

    `engine` and `storage` default to the model and the output that the configuration names.

    Raises:
        UsageError: a mistake in the configuration or the input, to be shown as one line.
        RunError, StorageError: the cluster or the storage failed; what was committed stays.
    """
    stream = stream or sys.stderr
    engine = engine or LiteLVLMEngine(model=config.model, batch_images=config.cluster.batch_images)
    try:
        policy = uri_policy(config)
        plan = make_plan(config, revision=engine.revision())
        storage = storage or Storage(config.output, config.storage_options)
        refuse_others(storage, plan, config)
        if not config.overwrite and is_finished(storage, plan.fingerprint):
            print(f"{storage.root} is complete: {plan.num_rows} rows; nothing to do", file=stream)
            return EXIT_DONE
        remarks = engine.check()
        resumed = claim_output(storage, plan, config)
    except MISTAKES as error:
        raise UsageError(str(error)) from error
    print("\n".join([f"columns: {plan.mapping.describe()}", *remarks]), file=stream)
    return _Run(config, engine, plan, storage, policy, stream).run(resumed=resumed)


class _Run:
    def __init__(
        self, config: RunConfig, engine: Engine, plan: Plan, storage: Storage, policy: UriPolicy, stream: TextIO
    ) -> None:
        self._config, self._engine, self._plan, self._storage = config, engine, plan, storage
        self._policy, self._stream = policy, stream
        self._tally = Tally()
        self._meters = Meters((), "")
        self._summary = RunSummary(config=config, plan=plan)

    def run(self, *, resumed: bool) -> int:
        todo = self._left() if resumed else list(self._plan.shards)
        self._summary.resumed_rows = self._tally.rows
        print(self._opening_line(todo), file=self._stream)
        try:
            if todo:
                self._execute(todo)
            return self._finish()
        except FailureRateExceeded:
            write_errors(self._storage, (s for s in self._plan.shards if s.shard_id in self._tally.shard_ids))
            write_summary(self._storage, self._summary.stopped(self._tally))
            self._report()
            print(self._failure_line(self._tally, stopped=True), file=self._stream)
            return EXIT_FAILURE_RATE
        except (RunError, StageError, DataError, UsageError) as error:
            write_summary(self._storage, self._summary.crashed(self._tally, error))
            raise

    def _finish(self) -> int:
        totals = merge_run(self._storage, self._plan, self._config)
        failed = totals.statuses[STATUS_FAILED]
        exceeded = failed > self._config.max_failure_rate * totals.records
        write_summary(self._storage, self._summary.finished(totals, exceeded=exceeded, storage=self._storage))
        self._report()
        if exceeded:
            tally = Tally(rows=totals.rows, records=totals.records, failed=failed, reasons=totals.reasons)
            print(self._failure_line(tally, stopped=False), file=self._stream)
            return EXIT_FAILURE_RATE
        seal_run(self._storage, self._plan, totals)
        print(self._closing_line(totals), file=self._stream)
        return EXIT_DONE

    def _report(self) -> None:
        """`report.html`. A run is good without: whatever keeps it from being drawn becomes a line."""
        from litelvlm.pipeline.report.write import write_report

        try:
            write_report(self._storage, self._config, self._policy)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - the report shows what others wrote: it must not undo their work
            redact = Redactor(self._config.storage_options)
            print(f"report.html is not written: {redact(f'{type(error).__name__}: {error}')}", file=self._stream)

    def _execute(self, todo: list[Shard]) -> None:
        """Run the pipeline until every shard has its marker, again for those that a failing cluster left out."""
        from litelvlm.pipeline.cluster import ray_session

        progress = Progress(
            rows_total=self._plan.num_rows,
            rows_done=self._tally.rows,
            gpu_price=self._config.gpu_price,
            gpus_per_actor=self._config.cluster.gpus_per_actor,
            stream=self._stream,
        )
        stalled = 0
        with ray_session(self._config.cluster):
            self._meters = Meters(DRIVER_METRICS, run_tag(self._plan.fingerprint))
            self._meters.began(num_shards_left=len(todo))
            execution = self._execution()
            while todo:
                error = self._execute_once(execution, todo, progress)
                left = self._left()
                stalled = stalled + 1 if len(left) == len(todo) else 0
                if stalled >= _MAX_STALLED:
                    raise RunError(f"{_MAX_STALLED} executions in a row committed nothing; the last ended with {error}")
                if left:
                    self._summary.executions += 1
                    print(f"{len(left)} shards are left ({error or 'no error'}); going on with them", file=self._stream)
                todo = left
        progress.close()
        self._summary.session(progress)

    def _execute_once(self, execution: Any, todo: list[Shard], progress: Progress) -> str | None:
        """One execution. Returns what the cluster's failure was, if it failed; a stage's own error is raised."""
        try:
            for marker in execution.run(todo):
                if self._tally.add(marker):
                    row = progress.add(marker)
                    self._meters.committed(row, num_shards_left=self._num_left(), eta_s=progress.eta_s)
                if self._tally.exceeds(self._config.max_failure_rate, num_rows=self._plan.num_rows):
                    raise FailureRateExceeded
        except Exception as error:
            if not is_cluster_failure(error):
                raise
            return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        return None

    def _num_left(self) -> int:
        return len(self._plan.shards) - len(self._tally.shard_ids)

    def _execution(self) -> Any:
        from litelvlm.pipeline.cluster import choose_device, max_decoders, quiet_data_context
        from litelvlm.pipeline.stages.execute import Execution

        quiet_data_context()
        device = choose_device(self._config)
        self._summary.device = device
        return Execution(
            config=self._config,
            plan=self._plan,
            storage=self._storage,
            engine=self._engine.on_device(device),
            policy=self._policy,
            on_gpu=device == "cuda",
            max_decoders=max_decoders(self._config.cluster),
        )

    def _left(self) -> list[Shard]:
        """Shards without a marker, as far as the listing and this session know; markers new to it are counted."""
        unknown = [shard for shard in self._plan.shards if shard.shard_id not in self._tally.shard_ids]
        listed = done_shards(self._storage)
        found = [shard.shard_id for shard in unknown if shard.shard_id in listed]
        for marker in read_ahead(lambda shard_id: find_marker(self._storage, shard_id), found):
            if marker is not None:
                self._tally.add(marker)
        return [shard for shard in unknown if shard.shard_id not in self._tally.shard_ids]

    def _opening_line(self, todo: list[Shard]) -> str:
        plan = self._plan
        return (
            f"{plan.num_rows} rows of {plan.num_files} files in {len(plan.shards)} shards; "
            f"{len(plan.shards) - len(todo)} shards are done, {len(todo)} to do"
        )

    def _closing_line(self, totals: MergeTotals) -> str:
        counts = ", ".join(f"{totals.statuses[status]} {status}" for status in ("ok", "empty", STATUS_FAILED))
        return f"done: {totals.records} records of {totals.images} images ({counts}) in {self._storage.root}"

    def _failure_line(self, tally: Tally, *, stopped: bool) -> str:
        top = "; ".join(f"{count} x {reason}" for reason, count in tally.reasons.most_common(3))
        what = "stopped early" if stopped else "ended"
        return (
            f"error: {what}: {tally.failed} of {tally.records} records failed, more than --max-failure-rate "
            f"{self._config.max_failure_rate} allows. Most frequent: {top}. The work is kept; "
            "see errors.parquet and run.json"
        )


def uri_policy(config: RunConfig) -> UriPolicy:
    """What image URIs may be read: what a local table may name only if every input is local."""
    source = config.source
    prefixes = list(source.allow_prefixes)
    remote = [path for path in source.input if not is_local(path)]
    for path in remote:
        prefixes.extend(UriPolicy.for_input(path, allowed_prefixes=()).allowed_prefixes)
    return UriPolicy(
        image_root=source.image_root, allowed_prefixes=tuple(dict.fromkeys(prefixes)), manifest_is_local=not remote
    )
