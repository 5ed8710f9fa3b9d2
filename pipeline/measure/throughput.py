"""A row of the throughput table: a shard, from its marker alone, so that it can be had while a run goes on."""

from __future__ import annotations

from typing import Any

from litelvlm.pipeline.measure.device_peaks import peak_tflop_per_s
from litelvlm.pipeline.schemas import BASELINE_COLUMNS, HELD_KINDS, MODEL_STAGES, STAGES, STATUSES
from litelvlm.pipeline.shards.markers import Baseline, ShardFacts, ShardMarker

_FACTS = (
    "images",
    "prompts",
    "megapixels",
    "visual_tokens",
    "retained_tokens",
    "text_tokens",
    "tflop",
    "unpruned_tflop",
)
_PLACES = ("bytes_read", "attempts", "node", "device", "actor", "actor_from", "actor_to")


def throughput_row(marker: ShardMarker, *, gpus_per_actor: float, gpu_price: float | None) -> dict[str, Any]:
    """A row of `THROUGHPUT_SCHEMA`. `gpu_price` is per GPU and hour; cost counts every second of the actor's device."""
    seconds, facts = marker.seconds, marker.facts
    held = {f"{kind}_s": seconds.get(kind, 0.0) for kind in HELD_KINDS}
    gpu_s = sum(held.values()) * gpus_per_actor
    return {
        "shard_id": marker.shard_id,
        "index": marker.index,
        "rows": marker.rows,
        "phrases": marker.records,
        **{status: getattr(marker, status) for status in STATUSES},
        **{name: getattr(facts, name) for name in (*_FACTS, *_PLACES)},
        **{f"{stage}_s": seconds.get(stage, 0.0) for stage in STAGES},
        "decode_cpu_s": seconds.get("decode_cpu"),
        **held,
        "other_s": held["annotate_s"] - sum(seconds.get(stage, 0.0) for stage in MODEL_STAGES),
        "held_s": sum(held.values()),
        "mfu": _mfu(facts, held["annotate_s"]),
        "bytes_written": marker.data.num_bytes,
        "finished_at": marker.finished_at,
        "gpu_s": gpu_s,
        "cost": None if gpu_price is None else gpu_s / 3600.0 * gpu_price,
        **_baseline(marker.baseline),
    }


def _mfu(facts: ShardFacts, annotate_s: float) -> float | None:
    """Needed operations a second, as a share of what the device reaches at its best; None where that is unknown."""
    peak = peak_tflop_per_s(facts.device)
    return facts.tflop / annotate_s / peak if peak and facts.tflop is not None and annotate_s > 0 else None


def _baseline(found: Baseline | None) -> dict[str, Any]:
    if found is None:
        return dict.fromkeys(("baseline_images", "baseline_phrases", *BASELINE_COLUMNS, "baseline_mean_iou"))
    return {
        "baseline_images": found.images,
        "baseline_phrases": found.phrases,
        "baseline_pruned_s": found.pruned.s,
        "baseline_unpruned_s": found.unpruned.s,
        "baseline_pruned_llm_s": found.pruned.llm_s,
        "baseline_unpruned_llm_s": found.unpruned.llm_s,
        "baseline_mean_iou": sum(found.iou) / len(found.iou) if found.iou else None,
    }
