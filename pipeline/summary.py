"""How a session is summed up when it ends."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections import Counter
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from litelvlm.pipeline.config import RunConfig, redacted
from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.exit_codes import EXIT_CRASHED, EXIT_DONE, EXIT_FAILURE_RATE, EXIT_USAGE
from litelvlm.pipeline.measure.run_summary import RunSummary
from litelvlm.pipeline.measure.savings import savings, summarise
from litelvlm.pipeline.redact import Redactor
from litelvlm.pipeline.schemas import STATUSES, THROUGHPUT_NAME, THROUGHPUT_SUMS
from litelvlm.pipeline.shards.manifest import RunPlan
from litelvlm.pipeline.storage.store import Storage

if TYPE_CHECKING:
    from litelvlm.pipeline.measure.progress import Progress
    from litelvlm.pipeline.output.merge import MergeTotals
    from litelvlm.pipeline.tally import Tally

_PACKAGES = ("litelvlm-annotate", "torch", "transformers", "open_clip_torch", "ray", "pyarrow", "fsspec")
_TOP_REASONS = 20
_EXIT_CODES = {
    "done": EXIT_DONE,
    "crashed": EXIT_CRASHED,
    "bad_usage": EXIT_USAGE,
    "failure_rate_exceeded": EXIT_FAILURE_RATE,
}


@dataclass(kw_only=True)
class Summariser:
    """Makes the summary of a session that has begun."""

    config: RunConfig
    plan: RunPlan
    device: str | None = None
    resumed_rows: int = 0
    executions: int = 1
    session: dict[str, float | None] = field(default_factory=dict)
    started_at: float = field(default_factory=time.time)

    def note(self, progress: Progress) -> None:
        """What this session has done."""
        seconds = progress.elapsed_s
        self.session = {
            "wall_s": seconds,
            "rows": progress.rows,
            "images": progress.images,
            "phrases": progress.records,
            "images_per_s": progress.images / seconds,
            "phrases_per_s": progress.records / seconds,
            "gpu_s": progress.gpu_s,
            "cost": progress.cost,
        }

    def finished(self, totals: MergeTotals, *, exceeded: bool, storage: Storage) -> RunSummary:
        """The summary of a run all of whose shards are done."""
        sums, baseline = _throughput_totals(storage), summarise(totals.baselines)
        return dataclasses.replace(
            self._common("failure_rate_exceeded" if exceeded else "done", totals.reasons),
            counts={
                "rows": totals.rows,
                "records": totals.records,
                **{status: totals.statuses[status] for status in STATUSES},
                "images": totals.images,
                "annotations": totals.annotations,
                "record_parts": totals.record_parts,
                "coco_parts": totals.coco_parts,
            },
            totals=sums,
            cost=sums["cost"],
            baseline=baseline,
            savings=savings(sums, baseline, self.config.gpu_price),
            formulations=sorted(totals.formulations),
        )

    def stopped(self, tally: Tally) -> RunSummary:
        """The summary of a run that was stopped because too many records failed."""
        counts = {"rows": tally.rows, "records": tally.records, "failed": tally.failed}
        return dataclasses.replace(self._common("failure_rate_exceeded", tally.reasons), counts=counts)

    def crashed(self, tally: Tally, error: Exception) -> RunSummary:
        """The summary of a session that ended in an error; what it committed is kept."""
        state = "bad_usage" if isinstance(error, UsageError) else "crashed"
        return dataclasses.replace(
            self._common(state, Counter()),
            counts={"rows": tally.rows, "records": tally.records, "failed": tally.failed},
            error=Redactor(self.config.storage_options)(f"{type(error).__name__}: {error}"),
        )

    def _common(self, state: str, reasons: Counter[str]) -> RunSummary:
        redact = Redactor(self.config.storage_options)
        return RunSummary(
            state=state,
            exit_code=_EXIT_CODES[state],
            fingerprint=self.plan.fingerprint,
            model_revision=self.plan.facts["model_revision"],
            columns=self.plan.mapping.describe(),
            config=redacted(self.config),
            device=self.device,
            resumed_rows=self.resumed_rows,
            executions=self.executions,
            session=self.session,
            started_at=_utc(self.started_at),
            ended_at=_utc(time.time()),
            versions=_versions(),
            counts={},
            reasons={redact(reason): count for reason, count in reasons.most_common(_TOP_REASONS)},
        )


def _throughput_totals(storage: Storage) -> dict[str, Any]:
    """Sums over the throughput table; null where no row has a value, as cost without a price."""
    sums = list(THROUGHPUT_SUMS)
    totals: dict[str, float | None] = dict.fromkeys(sums)
    with storage.open_read(THROUGHPUT_NAME) as file:
        for batch in pq.ParquetFile(file).iter_batches(columns=sums):
            for name in sums:
                value = batch.column(name).drop_null().to_pylist()
                if value:
                    totals[name] = (totals[name] or 0) + sum(value)
    return totals


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
