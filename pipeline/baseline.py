"""What pruning saves and what it changes, measured on the user's own images: some are annotated unpruned as well."""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from pipeline.masks import EncodedMask, encode_mask, mask_iou
from pipeline.plan import Shard, row_hashes, selected_rows
from pipeline.shard_run import model_calls
from pipeline.work import ImageWork, ShardWork


def choose_rows(shards: Iterable[Shard], num_rows: int, sample: float | None) -> dict[str, tuple[int, ...]]:
    """Choose `num_rows` rows of a run by hash, the same ones every time: shard id -> rows of its file."""
    smallest = heapq.nsmallest(num_rows, _hashed(shards, num_rows, sample))
    chosen: dict[str, list[int]] = defaultdict(list)
    for _, shard_id, row in smallest:
        chosen[shard_id].append(row)
    return {shard_id: tuple(sorted(rows)) for shard_id, rows in chosen.items()}


def compare_unpruned(call: Callable[..., list[Any]], work: ShardWork) -> dict[str, Any] | None:
    """Annotate the shard's chosen images pruned and unpruned, on the same actor, one after the other.

    `call(asked, unpruned=…, measured=…)` is that of `ShardRun`. Returns images, phrases, seconds and the IoU of every
    phrase's two masks; None when none of the chosen rows holds an image.
    """
    rows = set(work.baseline_rows)
    images = [image for image in work.images if _holds(image, rows)]
    calls = list(model_calls(images))
    if not calls:
        return None
    masks: dict[bool, list[EncodedMask]] = {}
    seconds: dict[bool, float] = {}
    for unpruned in (False, True):
        masks[unpruned], seconds[unpruned] = [], 0.0
        for asked in calls:
            started = time.perf_counter()
            results = call(asked, unpruned=unpruned, measured=False)
            seconds[unpruned] += time.perf_counter() - started
            masks[unpruned] += [encode_mask(mask) for result in results for mask in result.iter_masks()]
    iou = [round(mask_iou(a, b), 4) for a, b in zip(masks[False], masks[True], strict=True)]
    return {
        "images": len({id(image) for asked in calls for image, _ in asked}),
        "phrases": len(iou),
        "pruned_s": seconds[False],
        "unpruned_s": seconds[True],
        "iou": iou,
    }


def summarise(baselines: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Totals over shards, for the run summary; None without any."""
    parts = list(baselines)
    if not parts:
        return None
    iou = np.array([value for part in parts for value in part["iou"]])
    pruned_s, unpruned_s = sum(part["pruned_s"] for part in parts), sum(part["unpruned_s"] for part in parts)
    return {
        "images": sum(part["images"] for part in parts),
        "phrases": int(iou.size),
        "pruned_s": pruned_s,
        "unpruned_s": unpruned_s,
        "measured_speedup": unpruned_s / pruned_s if pruned_s > 0 else None,
        "mean_iou_pruned_vs_unpruned": float(iou.mean()) if iou.size else None,
        "iou_quantiles_5_25_50": [float(value) for value in np.quantile(iou, (0.05, 0.25, 0.5))] if iou.size else None,
    }


def _hashed(shards: Iterable[Shard], num_rows: int, sample: float | None) -> Iterator[tuple[int, str, int]]:
    for shard in shards:
        rows = np.asarray(selected_rows(shard.file, shard.row_start, shard.row_stop, sample), dtype=np.int64)
        hashes = row_hashes(shard.file + "#baseline", rows)
        for position in np.argsort(hashes)[:num_rows]:
            yield int(hashes[position]), shard.shard_id, int(rows[position])


def _holds(image: ImageWork, rows: set[int]) -> bool:
    return any(draft.source_row in rows for draft in image.drafts)
