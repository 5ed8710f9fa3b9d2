"""Ending a run: verify, merge, sweep, `_SUCCESS` last. Idempotent: killed anywhere, it is simply done again."""

from __future__ import annotations

import json
from typing import Any

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.output.merge import MergeTotals, merge_shards
from litelvlm.pipeline.schemas import ANNOTATIONS_DIR, ATTEMPTS_DIR, DONE_DIR, RECORDS_DIR, SHARDS_DIR, SUCCESS_NAME
from litelvlm.pipeline.shards.manifest import Plan
from litelvlm.pipeline.storage.store import Storage

_MARKER_SUFFIX = ".json"


def done_shards(storage: Storage) -> set[str]:
    """Ids of the shards that have a marker, some of the last ones perhaps missing: a listing may lag. One listing."""
    names = (name.rsplit("/", 1)[1] for name in storage.list(DONE_DIR))
    return {name.removesuffix(_MARKER_SUFFIX) for name in names if name.endswith(_MARKER_SUFFIX)}


def merge_run(storage: Storage, plan: Plan, config: RunConfig) -> MergeTotals:
    """Merge all shards of the plan into the final tables and COCO files.

    Raises:
        DataError: a shard is missing, or input rows and records do not match one to one.
    """
    totals = merge_shards(
        storage,
        plan.shards,
        sample=config.source.sample,
        gpus_per_actor=config.cluster.gpus_per_actor,
        gpu_price=config.gpu_price,
    )
    if totals.rows != plan.num_rows:
        raise DataError(f"the plan has {plan.num_rows} input rows, the shards {totals.rows}")
    return totals


def seal_run(storage: Storage, plan: Plan, totals: MergeTotals) -> None:
    """Sweep what no marker stands for, then write `_SUCCESS`."""
    sweep(storage, totals)
    content: dict[str, Any] = {"fingerprint": plan.fingerprint, "rows": totals.rows, "records": totals.records}
    storage.write_bytes(SUCCESS_NAME, (json.dumps(content, sort_keys=True) + "\n").encode())


def sweep(storage: Storage, totals: MergeTotals) -> int:
    """Remove orphaned data files, attempt counts, temporary files and parts of an older merge. Returns how many."""
    orphans = [name for name in storage.list(SHARDS_DIR) if name not in totals.data_names]
    orphans += storage.list(ATTEMPTS_DIR)
    orphans += [name for name in storage.list(DONE_DIR) if not name.endswith(_MARKER_SUFFIX)]
    kept = {f"{RECORDS_DIR}/part-{number:05d}.parquet" for number in range(totals.record_parts)}
    orphans += [name for name in storage.list(RECORDS_DIR) if name not in kept]
    kept |= {f"{ANNOTATIONS_DIR}/part-{number:05d}.json" for number in range(totals.coco_parts)}
    orphans += [name for name in storage.list(ANNOTATIONS_DIR) if name not in kept]
    orphans += storage.leftovers()
    storage.delete(orphans)
    return len(orphans)


def is_finished(storage: Storage, fingerprint: str) -> bool:
    """Whether `_SUCCESS` is there and was written by a run of this very plan."""
    try:
        content = json.loads(storage.read_bytes(SUCCESS_NAME))
    except FileNotFoundError:
        return False
    return content.get("fingerprint") == fingerprint
