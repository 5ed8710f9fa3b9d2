"""Ending a run: verify, merge, sweep, `_SUCCESS` last. Idempotent: killed anywhere, it is simply done again."""

from __future__ import annotations

import json
from collections.abc import Callable, Container

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.ontology import OBJECT
from litelvlm.pipeline.output.card import write_card
from litelvlm.pipeline.output.merge import MergeTotals, merge_shards
from litelvlm.pipeline.schemas import ANNOTATIONS_DIR, ATTEMPTS_DIR, DONE_DIR, RECORDS_DIR, SHARDS_DIR, SUCCESS_NAME
from litelvlm.pipeline.shards.manifest import RunPlan
from litelvlm.pipeline.shards.markers import MARKER_SUFFIX
from litelvlm.pipeline.storage.store import Storage


def merge_run(
    storage: Storage, plan: RunPlan, config: RunConfig, watch: Callable[[int], None] = lambda num_shards: None
) -> MergeTotals:
    """Merge all shards of the plan into the final tables and COCO files. `watch` is told how many have been read.

    Raises:
        DataError: a shard is missing, or input rows and records do not match one to one.
    """
    totals = merge_shards(
        storage,
        plan.shards,
        sample=config.source.sample,
        gpus_per_actor=config.cluster.gpus_per_actor,
        gpu_price=config.gpu_price,
        categories=config.source.ontology.categories if config.source.ontology else (OBJECT,),
        watch=watch,
    )
    if totals.rows != plan.num_rows:
        raise DataError(f"the plan has {plan.num_rows} input rows, the shards {totals.rows}")
    return totals


def seal_run(storage: Storage, plan: RunPlan, totals: MergeTotals) -> None:
    """Sweep what no marker stands for, write the card, then `_SUCCESS`."""
    sweep(storage, totals.data_names)
    _sweep_parts(storage, totals)
    write_card(storage, names=True)
    mark_finished(storage, plan, records=totals.records)


def mark_finished(storage: Storage, plan: RunPlan, **counts: int) -> None:
    """Write `_SUCCESS`. `counts` are told beside the input rows."""
    content = {"fingerprint": plan.fingerprint, "rows": plan.num_rows, **counts}
    storage.write_bytes(SUCCESS_NAME, (json.dumps(content, sort_keys=True) + "\n").encode())


def sweep(storage: Storage, data_names: Container[str]) -> int:
    """Remove what attempts that died have left: data files that no marker names, attempt counts, temporary files.
    Returns how many."""
    orphans = [name for name in storage.list(SHARDS_DIR) if name not in data_names]
    orphans += storage.list(ATTEMPTS_DIR)
    orphans += [name for name in storage.list(DONE_DIR) if not name.endswith(MARKER_SUFFIX)]
    orphans += storage.leftovers()
    storage.delete(orphans)
    return len(orphans)


def _sweep_parts(storage: Storage, totals: MergeTotals) -> None:
    """Remove parts of an older merge."""
    kept = {f"{RECORDS_DIR}/part-{number:05d}.parquet" for number in range(totals.record_parts)}
    kept |= {f"{ANNOTATIONS_DIR}/part-{number:05d}.json" for number in range(totals.coco_parts)}
    found = [name for directory in (RECORDS_DIR, ANNOTATIONS_DIR) for name in storage.list(directory)]
    storage.delete([name for name in found if name not in kept])


def is_finished(storage: Storage, fingerprint: str) -> bool:
    """Whether `_SUCCESS` is there and was written by a run of this very plan."""
    try:
        content = json.loads(storage.read_bytes(SUCCESS_NAME))
    except FileNotFoundError:
        return False
    return content.get("fingerprint") == fingerprint
