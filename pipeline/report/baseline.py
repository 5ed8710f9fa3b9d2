"""What a report says of pruning: the images that were annotated both ways, from the markers of their shards."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litelvlm.pipeline.measure.savings import summarise

IOU_BINS = 20
_SAME = 0.9  # an IoU from here on counts as the same mask


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The two masks of one phrase, pruned and unpruned."""

    shard_id: str
    source_row: int
    phrase_index: int
    iou: float
    size_hw: tuple[int, int]
    pruned_rle: str
    unpruned_rle: str


@dataclass(frozen=True, kw_only=True)
class BaselineFacts:
    """The measured comparison: its summary as in `run.json`, every phrase's IoU, and the pairs that agree least."""

    summary: dict[str, Any]
    iou: NDArray[np.float64]
    worst: list[Pair]

    @property
    def saved_share(self) -> float | None:
        """Share of the unpruned seconds that pruning saved; negative where it cost time."""
        speedup = self.summary["measured_speedup"]
        return 1.0 - 1.0 / speedup if speedup else None

    @property
    def same_share(self) -> float | None:
        """Share of the phrases whose masks agree at IoU 0.9 or more."""
        return float((self.iou >= _SAME).mean()) if self.iou.size else None

    def quantile(self, share: float) -> float | None:
        """The IoU that this share of the phrases stays below."""
        return float(np.quantile(self.iou, share)) if self.iou.size else None

    def bins(self) -> list[int]:
        """Phrases by IoU, `IOU_BINS` equal bins over [0, 1]."""
        return np.histogram(np.clip(self.iou, 0, 1), bins=IOU_BINS, range=(0, 1))[0].tolist()


def baseline_facts(markers: Iterable[dict[str, Any]], *, shown: int) -> BaselineFacts | None:
    """Add up the comparisons in these markers; None without any. `shown` worst pairs are kept, of different images."""
    parts: list[dict[str, Any]] = []
    worst: list[tuple[float, int, Pair]] = []
    number = count()
    for marker in markers:
        found = marker.get("baseline")
        if not found:
            continue
        worst.extend((pair.iou, next(number), pair) for pair in _pairs(marker["shard_id"], found))
        worst = heapq.nsmallest(4 * shown, worst)
        parts.append({name: value for name, value in found.items() if name != "pairs"})
    summary = summarise(parts)
    if summary is None:
        return None
    iou = np.array([value for part in parts for value in part["iou"]], dtype=np.float64)
    return BaselineFacts(summary=summary, iou=iou, worst=list(_distinct([pair for *_, pair in sorted(worst)], shown)))


def _pairs(shard_id: str, found: dict[str, Any]) -> Iterator[Pair]:
    for pair in found.get("pairs") or ():  # a marker of an older version has none
        height, width = pair["size_hw"]
        same = {name: pair[name] for name in ("source_row", "phrase_index", "iou", "pruned_rle", "unpruned_rle")}
        yield Pair(shard_id=shard_id, size_hw=(height, width), **same)


def _distinct(pairs: list[Pair], shown: int) -> Iterator[Pair]:
    seen: set[tuple[str, int]] = set()
    for pair in pairs:
        if (pair.shard_id, pair.source_row) not in seen and len(seen) < shown:
            seen.add((pair.shard_id, pair.source_row))
            yield pair
