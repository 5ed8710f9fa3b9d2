"""`run.json`: what a run was, how it ended, and what it took. The detail behind the exit code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.contracts import Contract
from litelvlm.pipeline.schemas import RUN_NAME
from litelvlm.pipeline.storage.store import Storage


@dataclass(frozen=True, kw_only=True)
class RunSummary(Contract):
    """`run.json`.

    Attributes:
        state: `done`, `failure_rate_exceeded`, `crashed` or `bad_usage`.
        resumed_rows: input rows that earlier sessions had done.
        executions: of the pipeline, in the last session; more than one where the cluster failed.
        session: what the last session did, as opposed to the run as a whole.
        started_at, ended_at: of the last session, UTC.
        counts: rows, records, images and files; fewer of them where the run is not done.
        reasons: the most frequent ones of failed records.
        error: what the session ended with.
        totals: sums over the throughput table; None where no row has a value.
        cost: of all of it, None without a price.
        baseline, savings: see `pipeline.measure.savings`.
        formulations: how the model's parts computed, more than one where devices differed.
    """

    indent: ClassVar[int | None] = 1

    state: str
    exit_code: int
    fingerprint: str
    model_revision: str
    columns: str
    config: RunConfig
    device: str | None
    resumed_rows: int
    executions: int
    session: dict[str, float | None]
    started_at: str
    ended_at: str
    versions: dict[str, str]
    counts: dict[str, int]
    reasons: dict[str, int] = field(default_factory=dict)
    error: str | None = None
    totals: dict[str, float | None] | None = None
    cost: float | None = None
    baseline: dict[str, Any] | None = None
    savings: dict[str, Any] | None = None
    formulations: list[str] = field(default_factory=list)


def find_summary(storage: Storage) -> RunSummary | None:
    """What `run.json` says; None while no session has ended. Raises DataError where it is damaged."""
    try:
        return RunSummary.from_json(storage.read_bytes(RUN_NAME), RUN_NAME)
    except FileNotFoundError:
        return None
