"""What a report says of pruning: the images that were annotated both ways, from the markers of their shards."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litelvlm.pipeline.measure.savings import summarise
from litelvlm.pipeline.shards.markers import Baseline, MaskPair, ShardMarker

IOU_BINS = 20
_SAME = 0.9  # an IoU from here on counts as the same mask


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The two masks of one phrase, and the shard that it is of."""

    shard_id: str
    masks: MaskPair


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


def baseline_facts(markers: Iterable[ShardMarker], *, shown: int) -> BaselineFacts | None:
    """Add up the comparisons in these markers; None without any. `shown` worst pairs are kept, of different images."""
    parts: list[Baseline] = []
    worst: list[tuple[float, int, Pair]] = []
    number = count()
    for marker in markers:
        if marker.baseline is None:
            continue
        worst.extend(
            (one.iou, next(number), Pair(shard_id=marker.shard_id, masks=one)) for one in marker.baseline.pairs
        )
        worst = heapq.nsmallest(4 * shown, worst)
        parts.append(replace(marker.baseline, pairs=[]))
    summary = summarise(parts)
    if summary is None:
        return None
    iou = np.array([value for part in parts for value in part.iou], dtype=np.float64)
    return BaselineFacts(summary=summary, iou=iou, worst=list(_distinct([pair for *_, pair in sorted(worst)], shown)))


def _distinct(pairs: list[Pair], shown: int) -> Iterator[Pair]:
    seen: set[tuple[str, int]] = set()
    for pair in pairs:
        key = (pair.shard_id, pair.masks.source_row)
        if key not in seen and len(seen) < shown:
            seen.add(key)
            yield pair
