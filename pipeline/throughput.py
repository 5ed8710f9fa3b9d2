"""The throughput table: a row per shard, from its marker alone, so that it can be had while a run goes on."""

from __future__ import annotations

from typing import Any

from pipeline.records import STAGES, STATUSES


def throughput_row(marker: dict[str, Any], *, gpus_per_actor: float, gpu_price: float | None) -> dict[str, Any]:
    """A row of `THROUGHPUT_SCHEMA`. `gpu_price` is per GPU and hour; cost counts seconds the model held its device."""
    seconds, facts = marker["seconds"], marker["facts"]
    annotate_s = seconds.get("annotate", 0.0)
    gpu_s = annotate_s * gpus_per_actor
    return {
        "shard_id": marker["shard_id"],
        "index": marker["index"],
        "rows": marker["rows"],
        "images": facts.get("images"),
        "phrases": marker["records"],
        **{status: marker[status] for status in STATUSES},
        **{f"{stage}_s": seconds.get(stage, 0.0) for stage in STAGES},
        "annotate_s": annotate_s,
        "visual_tokens": facts.get("visual_tokens"),
        "retained_tokens": facts.get("retained_tokens"),
        "text_tokens": facts.get("text_tokens"),
        "bytes_read": facts.get("bytes_read"),
        "bytes_written": marker["bytes_written"],
        "node": facts.get("node"),
        "device": facts.get("device"),
        "actor": facts.get("actor"),
        "finished_at": marker["finished_at"],
        "gpu_s": gpu_s,
        "cost": None if gpu_price is None else gpu_s / 3600.0 * gpu_price,
    }
