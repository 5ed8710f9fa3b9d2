"""The throughput table of a run that goes on, or of one that was stopped: from the markers alone."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from litelvlm.pipeline.measure.throughput import throughput_row
from litelvlm.pipeline.schemas import HELD_KINDS, MODEL_STAGES, TASK_STAGES, THROUGHPUT_SCHEMA, status_words
from litelvlm.pipeline.shards.claim import claimed_run
from litelvlm.pipeline.shards.markers import ShardMarker, committed
from litelvlm.pipeline.storage.store import Storage


def live_table(storage: Storage, *, gpu_price: float | None = None) -> pa.Table:
    """A row of `THROUGHPUT_SCHEMA` for every shard that is committed by now, in input order. One listing.

    `gpu_price` is per GPU and hour; the default is what the run was given.

    Raises:
        ValueError: the storage holds no run.
    """
    config = claimed_run(storage).config
    price = config.gpu_price if gpu_price is None else gpu_price
    gpus = config.cluster.gpus_per_actor
    rows = [throughput_row(one, gpus_per_actor=gpus, gpu_price=price) for one in committed(storage, ShardMarker)]
    rows.sort(key=lambda row: row["index"])
    return pa.Table.from_pylist(rows, schema=THROUGHPUT_SCHEMA)


def describe_table(table: pa.Table, *, num_shards: int | None = None) -> str:
    """What a throughput table says, a line each."""
    total = {name: pc.sum(table.column(name)).as_py() or 0 for name in table.column_names if _adds_up(table, name)}
    held_s = total["held_s"]
    lines = {
        "shards": f"{table.num_rows}" + (f" of {num_shards}" if num_shards is not None else ""),
        "records": f"{total['phrases']} ({status_words(total)}) of {total['images']} images",
        "visual tokens": f"{total['retained_tokens']} kept of {total['visual_tokens']}",
        "CPU tasks": _seconds(total, TASK_STAGES, sum(total[f"{stage}_s"] for stage in TASK_STAGES)),
        "device": _seconds(total, HELD_KINDS, held_s),
        "model": _seconds(total, (*MODEL_STAGES, "other"), total["annotate_s"]),
    }
    if (wall_s := _wall_s(table)) and total["images"]:
        lines["rate"] = f"{total['images'] / wall_s:.2f} images/s, {total['phrases'] / wall_s:.2f} phrases/s"
    if table.column("cost").null_count < table.num_rows:
        lines["cost"] = f"{total['cost']:.4f} for {total['gpu_s'] / 3600:.4f} GPU hours"
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines.items())


def _adds_up(table: pa.Table, name: str) -> bool:
    return table.schema.field(name).type in (pa.int64(), pa.float64())


def _seconds(total: dict[str, Any], names: tuple[str, ...], whole: float) -> str:
    parts = [f"{name} {total[f'{name}_s'] / whole:.0%}" for name in names if whole > 0 and total[f"{name}_s"] > 0]
    return f"{whole:.2f} s" + (f": {', '.join(parts)}" if parts else "")


def _wall_s(table: pa.Table) -> float | None:
    """Seconds from the first actor's start to the last one's end; None where no marker says so."""
    first, last = pc.min(table.column("actor_from")).as_py(), pc.max(table.column("actor_to")).as_py()
    return last - first if first is not None and last > first else None
