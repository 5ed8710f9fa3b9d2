"""Finished runs as the planner sees them: settings, measured shards, measured quality; read from where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from litelvlm.config import RULES, UNPRUNED
from litelvlm.pipeline.errors import DataError, UsageError
from litelvlm.pipeline.measure.run_summary import RunSummary, find_summary
from litelvlm.pipeline.planner.cost_model import DEVICE_STAGES, Load, Observation
from litelvlm.pipeline.schemas import RUN_NAME, STATUS_ABSENT, THROUGHPUT_NAME
from litelvlm.pipeline.storage.parquet import read_parquet
from litelvlm.pipeline.storage.store import Storage

_STAGES = (*DEVICE_STAGES, "host", "idle", "decode_cpu")
#: Columns of the throughput table that a plan rests on.
_NEEDED = [
    *("images", "ok", "empty", "dropped", "prompts", "megapixels", "visual_tokens", "retained_tokens", "text_tokens"),
    *(f"{stage}_s" for stage in _STAGES),
    *("startup_s", "device", "actor", "actor_from", "actor_to"),
    *("baseline_phrases", "baseline_mean_iou"),
]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a plan may choose. `tokens` are visual tokens kept per prompt; `rule` is `none` where all are."""

    layout: str
    rule: str
    tokens: int

    @property
    def pruned(self) -> bool:
        return self.rule != UNPRUNED

    def __str__(self) -> str:
        return f"{self.layout}, {f'{self.rule} to' if self.pruned else 'all'} {self.tokens} tokens"


@dataclass(frozen=True, kw_only=True)
class Quality:
    """A measured quality in [0, 1], over so many phrases.

    `kind` is `agreement` (mean IoU with the unpruned masks) or `gIoU` (mean IoU with ground truth).
    """

    kind: str
    value: float
    phrases: int


@dataclass(frozen=True, kw_only=True)
class MeasuredRun:
    """A finished run.

    Attributes:
        facts: what runs of one plan must share: device, model revision, precision, GPUs per actor.
        visual_tokens: per prompt, before pruning.
        quality: of its setting; unpruned_quality: of the unpruned model, where there was ground truth.
        outside_s: wall seconds of the job outside its actors' time: planning, starting Ray, merging; None if resumed.
        shard_images: rows asked for per shard, or of the largest one.
    """

    root: str
    setting: Setting
    observations: tuple[Observation, ...]
    facts: dict[str, str]
    visual_tokens: int
    shard_images: int
    quality: tuple[Quality, ...] = ()
    unpruned_quality: tuple[Quality, ...] = ()
    outside_s: float | None = None

    @property
    def device(self) -> str:
        return self.facts["device"]


def read_runs(roots: Iterable[str], options: dict[str, Any] | None = None) -> list[MeasuredRun]:
    """Read runs that belong into one plan. Raises UsageError naming what does not fit."""
    runs = [read_run(root, options) for root in roots]
    if not runs:
        raise UsageError("--run is missing: give the output directory of a finished run")
    for run in runs[1:]:
        for name, value in run.facts.items():
            if value != runs[0].facts[name]:
                raise UsageError(
                    f"--run {run.root}: {name} is {value}, but {runs[0].facts[name]} in {runs[0].root}; plan them apart"
                )
    return runs


def read_run(root: str, options: dict[str, Any] | None = None) -> MeasuredRun:
    """Read one run. Raises UsageError where it is not a finished one."""
    storage = Storage(root, options)
    try:
        summary = find_summary(storage)
        table = read_parquet(storage.read_bytes(THROUGHPUT_NAME))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"--run {root}: holds no finished run: no {RUN_NAME} and {THROUGHPUT_NAME}") from error
    except (DataError, pa.ArrowInvalid) as error:
        raise UsageError(
            f"--run {root}: {error if isinstance(error, DataError) else THROUGHPUT_NAME + ' is damaged'}"
        ) from error
    if summary is None:
        raise UsageError(f"--run {root}: holds no finished run: no {RUN_NAME}")
    try:
        return measured_run(root, summary, table)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UsageError(f"--run {root}: {RUN_NAME} lacks what a finished run says: {error}") from error


def measured_run(root: str, summary: RunSummary, table: pa.Table) -> MeasuredRun:
    """A run from its summary and its throughput table. Raises UsageError where they do not serve."""
    missing = [name for name in _NEEDED if name not in table.column_names]
    if missing:
        raise UsageError(f"--run {root}: {THROUGHPUT_NAME} lacks {missing[0]}; it is of another version, run again")
    known = [name for name in (*_NEEDED, STATUS_ABSENT) if name in table.column_names]
    rows = [row for row in table.select(known).to_pylist() if row["images"]]
    if summary.state != "done" or not rows:
        raise UsageError(f"--run {root}: state is {summary.state}, {len(rows)} annotated shards; finish it first")
    config, (prompts, visual, retained) = summary.config, _sums(rows, "prompts", "visual_tokens", "retained_tokens")
    model = config.model
    visual_tokens, tokens = round(visual / max(prompts, 1)), round(retained / max(prompts, 1))
    if model.rule not in RULES:
        raise UsageError(f"--run {root}: rule {model.rule!r} is not known")
    pruned = model.rule != UNPRUNED and tokens < visual_tokens
    setting = Setting(layout=model.layout, rule=model.rule if pruned else UNPRUNED, tokens=tokens)
    facts = {
        "device": _printable(rows[0]["device"]),
        "model revision": _printable(summary.model_revision),
        "precision": _printable(model.precision),
        "GPUs per actor": str(config.cluster.gpus_per_actor),
    }
    return MeasuredRun(
        root=root,
        setting=setting,
        observations=tuple(_observations(rows, pruned=pruned)),
        facts=facts,
        visual_tokens=visual_tokens,
        shard_images=config.source.shard_images or max(row["images"] for row in rows),
        outside_s=_outside_s(summary, rows),
        **_qualities(summary, rows, pruned=pruned),
    )


def _observations(rows: Sequence[dict[str, Any]], *, pruned: bool) -> Iterable[Observation]:
    firsts: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = firsts.get(row["actor"])
        if known is None or (row["actor_from"] or 0) < (known["actor_from"] or 0):
            firsts[row["actor"]] = row
    for row in rows:
        load = Load(
            images=row["images"],
            phrases=sum(row.get(status) or 0 for status in ("ok", "empty", STATUS_ABSENT, "dropped")),
            prompts=row["prompts"] or 0,
            retained_tokens=row["retained_tokens"] or 0,
            text_tokens=row["text_tokens"] or 0,
            megapixels=row["megapixels"] or 0.0,
            pruned=pruned,
        )
        yield Observation(
            load=load,
            seconds={stage: row[f"{stage}_s"] or 0.0 for stage in _STAGES},
            first=firsts[row["actor"]] is row,
            startup_s=row["startup_s"] or 0.0,
        )


def _qualities(summary: RunSummary, rows: Sequence[dict[str, Any]], *, pruned: bool) -> dict[str, tuple[Quality, ...]]:
    """Agreement from the table; IoU with ground truth from the run's summary, where there was any."""
    own: list[Quality] = []
    unpruned: list[Quality] = []
    compared = [row for row in rows if row["baseline_phrases"] and row["baseline_mean_iou"] is not None]
    phrases = sum(row["baseline_phrases"] for row in compared)
    if phrases and pruned:
        value = sum(row["baseline_mean_iou"] * row["baseline_phrases"] for row in compared) / phrases
        own.append(Quality(kind="agreement", value=value, phrases=phrases))
    truth = (summary.baseline or {}).get("truth")
    if truth:
        own.append(Quality(kind="gIoU", value=truth["pruned"]["giou"], phrases=truth["phrases"]))
        unpruned.append(Quality(kind="gIoU", value=truth["unpruned"]["giou"], phrases=truth["phrases"]))
    return {"quality": tuple(own), "unpruned_quality": tuple(unpruned)}


def _outside_s(summary: RunSummary, rows: Sequence[dict[str, Any]]) -> float | None:
    times = [(row["actor_from"], row["actor_to"]) for row in rows if row["actor_from"] and row["actor_to"]]
    if summary.resumed_rows or summary.executions != 1 or len(times) < len(rows):
        return None
    started, ended = (datetime.fromisoformat(moment).timestamp() for moment in (summary.started_at, summary.ended_at))
    held: float = max(end for _, end in times) - min(start for start, _ in times)
    return max(0.0, ended - started - held)


def _printable(value: Any) -> str:
    """What a file says, without what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


def _sums(rows: Sequence[dict[str, Any]], *names: str) -> list[float]:
    return [float(sum(row[name] or 0 for row in rows)) for name in names]
