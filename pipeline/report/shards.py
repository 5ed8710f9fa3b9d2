"""What a report says of the shards: the throughput table as columns, and what follows from them.

Held in memory as numbers: some 50 MB for 100,000 shards. Seconds are measured; where a figure is modelled its name says
so. A null is NaN here, and counts as nothing in a sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from litelvlm.pipeline.schemas import HELD_KINDS, MODEL_STAGES, STAGES, THROUGHPUT_SCHEMA

Numbers = NDArray[np.float64]

_CHUNK = 5_000
_STEPS = (24, 120)  # of a chart over time
_STRAGGLER = 1.5  # times the median seconds a phrase
#: What a device's seconds go to, in the order a report shows them.
DEVICE_PARTS = ("startup", "idle", "host", *MODEL_STAGES, "other", "baseline")


class ShardTable:
    """The throughput table by columns. Columns that an older run lacks are all null."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @classmethod
    def of_rows(cls, rows: Iterable[dict[str, Any]]) -> ShardTable:
        """From rows of `THROUGHPUT_SCHEMA`, some at a time."""
        iterator, chunks = iter(rows), []
        while chunk := list(islice(iterator, _CHUNK)):
            chunks.append(pa.Table.from_pylist(chunk, schema=THROUGHPUT_SCHEMA))
        return cls(pa.concat_tables(chunks) if chunks else THROUGHPUT_SCHEMA.empty_table())

    def __len__(self) -> int:
        return self._table.num_rows

    def numbers(self, name: str) -> Numbers:
        """A column as float64, NaN for null. Shape (N,)."""
        if name not in self._table.column_names:
            return np.full(len(self), np.nan)
        return self._table.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)

    def total(self, name: str) -> float | None:
        """Sum of a column; None where no shard has a value."""
        values = self.numbers(name)
        return None if np.isnan(values).all() else float(np.nansum(values))

    def sum_of(self, *names: str) -> float:
        """Sum over several columns, nulls as 0."""
        return sum(self.total(name) or 0.0 for name in names)

    def texts(self, name: str) -> list[str]:
        """A column of text, "" for null."""
        if name not in self._table.column_names:
            return [""] * len(self)
        return [value or "" for value in self._table.column(name).to_pylist()]


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Seconds that devices were held, by what for."""

    seconds: dict[str, float]  # of DEVICE_PARTS
    held_s: float

    def share(self, part: str) -> float:
        """Share of the held time that a part took; 0 where nothing was held."""
        return self.seconds[part] / self.held_s if self.held_s > 0 else 0.0

    @property
    def busy_share(self) -> float | None:
        """Share of the held time in which the device ran the model, the comparison included; None without any."""
        if self.held_s <= 0:
            return None
        return 1.0 - sum(self.seconds[kind] for kind in ("startup", "idle", "host")) / self.held_s


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Rates over equal steps of the time in which the run worked. Pauses between sessions are cut out."""

    step_s: float
    started_at: float
    ended_at: float
    images_per_s: list[float | None]
    phrases_per_s: list[float | None]
    busy_share: list[float | None]
    breaks: list[float]  # where time was cut out, as shares of the width
    cut_s: float

    @property
    def worked_s(self) -> float:
        """Wall time without pauses."""
        return self.step_s * len(self.phrases_per_s)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A value per shard, or per group of adjacent shards: lowest, median and highest."""

    low: list[float | None]
    middle: list[float | None]
    high: list[float | None]
    shards_per_step: int


@dataclass(frozen=True, kw_only=True)
class Straggler:
    """A shard that took long for what it holds."""

    shard_id: str
    node: str
    phrases: int
    seconds: float
    factor: float  # seconds a phrase, times the median's
    mostly: str  # the part that makes most of the difference
    attempts: int | None
    megapixels_per_image: float | None


@dataclass(frozen=True, kw_only=True)
class Actor:
    """An actor's share of a run."""

    name: str
    node: str
    device: str
    shards: int
    phrases: int
    held_s: float
    busy_share: float | None
    idle_share: float | None
    ended_at: float


def usage(table: ShardTable) -> Usage:
    """What the devices' time went to. Tables of older runs hold only the model's own time."""
    seconds = {part: max(table.sum_of(f"{part}_s"), 0.0) for part in DEVICE_PARTS}
    held_s = table.total("held_s")
    return Usage(seconds=seconds, held_s=sum(seconds.values()) if held_s is None else held_s)


def host_seconds(table: ShardTable) -> dict[str, float]:
    """Seconds off the device, by stage: reading, decoding, waiting, encoding, committing."""
    return {stage: table.sum_of(f"{stage}_s") for stage in STAGES if stage not in MODEL_STAGES}


def timeline(table: ShardTable, *, steps: int | None = None) -> Timeline | None:
    """Rates over time, None without any shard. What a shard holds is spread over the seconds that its actor worked on
    it, loading the model left out. `steps` are two a shard, within limits, unless given."""
    start, stop = _intervals(table)
    if not start.size:
        return None
    steps = steps or min(max(2 * len(table), _STEPS[0]), _STEPS[1])
    order = np.argsort(start, kind="stable")
    reach = np.maximum.accumulate(stop[order])
    worked = _union(start[order], reach)
    gaps = start[order][1:] - reach[:-1]
    is_pause = gaps > max(60.0, 0.1 * worked)
    before = np.concatenate([[0.0], np.cumsum(np.where(is_pause, gaps, 0.0))])  # cut out before each shard, in order
    shift = np.empty_like(before)
    shift[order] = before
    first = float(start.min())
    begin, end = start - shift - first, stop - shift - first
    total = max(float(end.max()), 1e-3)
    edges = np.linspace(0.0, total, steps + 1)
    width = total / steps
    loaded = np.minimum(begin + np.nan_to_num(table.numbers("startup_s")), end - 1e-4)

    def rates(name: str, begin: Numbers = loaded) -> Numbers:
        return _spread(np.nan_to_num(table.numbers(name)), begin, end, edges)

    held = rates("held_s", begin)
    busy = rates("annotate_s") + rates("baseline_s")
    cuts = reach[:-1][is_pause] - before[:-1][is_pause] - first
    return Timeline(
        step_s=width,
        started_at=first,
        ended_at=float(stop.max()),
        images_per_s=(rates("images") / width).tolist(),
        phrases_per_s=(rates("phrases") / width).tolist(),
        busy_share=[float(min(b / h, 1.0)) if h > 1e-9 else None for b, h in zip(busy, held, strict=True)],
        breaks=[float(cut / total) for cut in cuts],
        cut_s=float(before[-1]),
    )


def phrases_per_device_second(table: ShardTable, *, steps: int = 160) -> Spread | None:
    """Throughput of the model by shard, in the input's order; groups of adjacent shards where there are many."""
    order = np.argsort(table.numbers("index"), kind="stable")
    phrases, took = table.numbers("phrases")[order], table.numbers("annotate_s")[order]
    rate = np.divide(phrases, took, out=np.full(len(table), np.nan), where=took > 0)
    if np.isnan(rate).all():
        return None
    group = -(-len(rate) // steps)
    groups = [rate[first : first + group] for first in range(0, len(rate), group)]
    return Spread(
        low=[_finite(values, np.nanmin) for values in groups],
        middle=[_finite(values, np.nanmedian) for values in groups],
        high=[_finite(values, np.nanmax) for values in groups],
        shards_per_step=group,
    )


def stragglers(table: ShardTable, *, limit: int = 10) -> tuple[list[Straggler], int]:
    """The shards that took longest for a phrase, slowest first, and how many took over 1.5 times the median."""
    phrases = np.maximum(table.numbers("phrases"), 1.0)
    own = table.numbers("annotate_s") + np.nan_to_num(table.numbers("host_s"))
    per_phrase = np.where(own > 0, own / phrases, np.nan)
    if np.isfinite(per_phrase).sum() < 3:  # there is no usual without a few
        return [], 0
    factor = per_phrase / np.nanmedian(per_phrase)
    slow = np.flatnonzero(factor > _STRAGGLER)
    worst = slow[np.argsort(-factor[slow], kind="stable")][:limit]
    parts = {part: table.numbers(f"{part}_s") / phrases for part in ("host", *MODEL_STAGES, "other")}
    excess = {part: values - _median(values) for part, values in parts.items()}
    shard_ids, nodes = table.texts("shard_id"), table.texts("node")
    images, megapixels, attempts = (table.numbers(name) for name in ("images", "megapixels", "attempts"))
    found = [
        Straggler(
            shard_id=shard_ids[at],
            node=nodes[at],
            phrases=int(np.nan_to_num(table.numbers("phrases")[at])),
            seconds=float(own[at]),
            factor=float(factor[at]),
            mostly=max(excess, key=lambda part: float(np.nan_to_num(excess[part][at]))),
            attempts=int(attempts[at]) if np.isfinite(attempts[at]) else None,
            megapixels_per_image=float(megapixels[at] / images[at]) if images[at] > 0 else None,
        )
        for at in map(int, worst)
    ]
    return found, int(slow.size)


def actors(table: ShardTable) -> list[Actor]:
    """Every actor, least busy first."""
    if not len(table):
        return []
    names = np.array(table.texts("actor"), dtype=object)
    nodes, devices = table.texts("node"), table.texts("device")
    kinds = {kind: np.nan_to_num(table.numbers(f"{kind}_s")) for kind in HELD_KINDS}
    phrases, ended = np.nan_to_num(table.numbers("phrases")), np.nan_to_num(table.numbers("finished_at"))
    found, codes = np.unique(names.astype(str), return_inverse=True)
    members = _members(codes, len(found))
    rows = []
    for name, own in zip(found, members, strict=True):
        seconds = {kind: float(values[own].sum()) for kind, values in kinds.items()}
        held_s = sum(seconds.values())
        rows.append(
            Actor(
                name=str(name),
                node=nodes[own[0]],
                device=devices[own[0]],
                shards=len(own),
                phrases=int(phrases[own].sum()),
                held_s=held_s,
                busy_share=(seconds["annotate"] + seconds["baseline"]) / held_s if held_s > 0 else None,
                idle_share=seconds["idle"] / held_s if held_s > 0 else None,
                ended_at=float(ended[own].max()),
            )
        )
    return sorted(rows, key=lambda actor: (actor.busy_share if actor.busy_share is not None else 2.0, actor.name))


def mean_mfu(table: ShardTable) -> float | None:
    """Modelled operations over the model's measured seconds and the devices' peak; None where that is unknown."""
    mfu, took = table.numbers("mfu"), table.numbers("annotate_s")
    known = np.isfinite(mfu) & (took > 0)
    return float((mfu[known] * took[known]).sum() / took[known].sum()) if known.any() else None


def _intervals(table: ShardTable) -> tuple[Numbers, Numbers]:
    """When each shard's actor worked on it, seconds since the epoch; from the moment it was done where that is all."""
    finished = table.numbers("finished_at")
    start, stop = table.numbers("actor_from"), table.numbers("actor_to")
    lasted = np.nan_to_num(table.numbers("annotate_s"))
    start = np.where(np.isfinite(start), start, finished - lasted)
    stop = np.where(np.isfinite(stop), stop, finished)
    known = np.isfinite(start) & np.isfinite(stop)
    if not known.all():
        middle = finished[np.isfinite(finished)].mean() if np.isfinite(finished).any() else 0.0
        start, stop = np.where(known, start, middle), np.where(known, stop, middle)
    return start, np.maximum(stop, start + 1e-3)


def _union(start: Numbers, reach: Numbers) -> float:
    """Length of the union of intervals, given sorted starts and the furthest stop so far."""
    gaps = np.maximum(start[1:] - reach[:-1], 0.0)
    return float(reach[-1] - start[0] - gaps.sum())


def _spread(amounts: Numbers, begin: Numbers, end: Numbers, edges: Numbers) -> Numbers:
    """Amounts between edges, when each flows evenly from its begin to its end."""
    so_far = np.array([(amounts * np.clip((edge - begin) / (end - begin), 0.0, 1.0)).sum() for edge in edges])
    return np.diff(so_far)


def _members(codes: NDArray[np.intp], count: int) -> Iterator[NDArray[np.intp]]:
    order = np.argsort(codes, kind="stable")
    return iter(np.split(order, np.searchsorted(codes[order], np.arange(1, count))))


def _median(values: Numbers) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0


def _finite(values: Numbers, reduce: Any) -> float | None:
    return float(reduce(values)) if np.isfinite(values).any() else None
