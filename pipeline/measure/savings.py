"""What a run's baseline and model say about pruning: speed-ups, agreement, quality, and what was saved.

What is called measured comes from timers of that run; what is called modelled, from the sizes of the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from litelvlm.pipeline.shards.markers import Baseline, Overlap, WayTaken

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def summarise(baselines: Iterable[Baseline]) -> dict[str, Any] | None:
    """The baseline of a run, from those of its shards' markers; None without any."""
    parts = list(baselines)
    if not parts:
        return None
    iou = np.array([value for part in parts for value in part.iou])
    pruned_s, unpruned_s = sum(part.pruned.s for part in parts), sum(part.unpruned.s for part in parts)
    pruned_llm_s, unpruned_llm_s = sum(part.pruned.llm_s for part in parts), sum(part.unpruned.llm_s for part in parts)
    by_shard = [ratio for part in parts if (ratio := _ratio(part.unpruned.s, part.pruned.s)) is not None]
    return {
        "images": sum(part.images for part in parts),
        "phrases": int(iou.size),
        "pruned_s": pruned_s,
        "unpruned_s": unpruned_s,
        "pruned_llm_s": pruned_llm_s,
        "unpruned_llm_s": unpruned_llm_s,
        "measured_speedup": _ratio(unpruned_s, pruned_s),
        "measured_speedup_quantiles_of_shards": _quantiles(np.array(by_shard)),
        "measured_prefill_speedup": _ratio(unpruned_llm_s, pruned_llm_s),
        "pruned_peak_bytes": _largest(part.pruned for part in parts),
        "unpruned_peak_bytes": _largest(part.unpruned for part in parts),
        "mean_iou_pruned_vs_unpruned": float(iou.mean()) if iou.size else None,
        "iou_quantiles": _quantiles(iou),
        "truth": _truth([part.truth for part in parts if part.truth]),
    }


def savings(totals: dict[str, Any], baseline: dict[str, Any] | None, gpu_price: float | None) -> dict[str, Any]:
    """What pruning saved: as measured on the baseline's images, and as the model's sizes have it."""
    return {"measured": _measured(totals, baseline, gpu_price), "modelled": _modelled(totals)}


def _measured(
    totals: dict[str, Any], baseline: dict[str, Any] | None, gpu_price: float | None
) -> dict[str, Any] | None:
    if not baseline or baseline["measured_speedup"] is None or not totals["annotate_s"]:
        return None
    gpus = totals["gpu_s"] / totals["held_s"]
    annotate_gpu_s = totals["annotate_s"] * gpus
    saved_gpu_s = annotate_gpu_s * (baseline["measured_speedup"] - 1.0)
    return {
        "basis": f"timers of {baseline['images']} images annotated both ways, scaled to the run's annotate_s",
        "speedup": baseline["measured_speedup"],
        "prefill_speedup": baseline["measured_prefill_speedup"],
        "annotate_gpu_s": annotate_gpu_s,
        "unpruned_annotate_gpu_s": annotate_gpu_s + saved_gpu_s,
        "saved_gpu_s": saved_gpu_s,
        "saved_cost": None if gpu_price is None else saved_gpu_s / 3600.0 * gpu_price,
        "baseline_gpu_s": totals["baseline_s"] * gpus,
    }


def _modelled(totals: dict[str, Any]) -> dict[str, Any] | None:
    if not totals["tflop"]:
        return None
    return {
        "basis": "needed floating-point operations by the model's sizes; no timer",
        "tflop": totals["tflop"],
        "unpruned_tflop": totals["unpruned_tflop"],
        "ratio": totals["unpruned_tflop"] / totals["tflop"],
    }


def _truth(parts: list[dict[str, list[Overlap]]]) -> dict[str, Any] | None:
    """cIoU, the ratio of all intersections to all unions, and gIoU, the mean IoU (1 where both masks are empty)."""
    if not parts:
        return None
    found: dict[str, Any] = {}
    for way in ("pruned", "unpruned"):
        pairs = np.array([pair for part in parts for pair in part[way] if pair is not None], dtype=np.float64)
        intersection, union = pairs[:, 0], pairs[:, 1]
        iou = np.divide(intersection, union, out=np.ones_like(union), where=union > 0)
        total = float(union.sum())
        found["phrases"] = len(pairs)
        found[way] = {"ciou": float(intersection.sum()) / total if total else 1.0, "giou": float(iou.mean())}
    return found


def _largest(ways: Iterable[WayTaken]) -> int | None:
    return max((way.peak_bytes for way in ways if way.peak_bytes is not None), default=None)


def _ratio(whole: float, part: float) -> float | None:
    return whole / part if part else None


def _quantiles(values: np.ndarray) -> dict[str, float] | None:
    if not values.size:
        return None
    return {
        f"{share:g}": float(value) for share, value in zip(_QUANTILES, np.quantile(values, _QUANTILES), strict=True)
    }
