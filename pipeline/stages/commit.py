"""Making a shard count: its data file first, under a name of its own, then, exclusively, the marker that names it.

Readers trust markers only. A data file without a marker is an orphan of an attempt that died or lost the race; it is
swept when the run finishes. Losing the race is success: the shard is done.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from litelvlm.pipeline.schemas import (
    SHARD_SCHEMA,
    STATUS_ABSENT,
    STATUS_DROPPED,
    STATUS_EMPTY,
    STATUS_FAILED,
    STATUS_OK,
)
from litelvlm.pipeline.shards.markers import DataFile, ShardMarker, create_marker, write_data
from litelvlm.pipeline.shards.payload import ShardResult
from litelvlm.pipeline.stages.failures import run_stage
from litelvlm.pipeline.storage.store import Storage

_TOP_REASONS = 5


@dataclass(kw_only=True)
class CommitStage:
    """A callable for `map_batches(batch_size=1)`: a shard's records in, its marker out."""

    storage: Storage

    def __call__(self, batch: pa.Table) -> pa.Table:
        return run_stage(lambda result: commit_shard(self.storage, result), batch)


def commit_shard(storage: Storage, result: ShardResult) -> ShardMarker:
    """Write a shard's data file and marker. Returns the marker that counts: this one, or that of whoever was first."""
    started = time.perf_counter()
    data = write_data(storage, result.shard.shard_id, result.records, SHARD_SCHEMA)
    return create_marker(storage, _marker(result, data, commit_s=time.perf_counter() - started))


def _marker(result: ShardResult, data: DataFile, *, commit_s: float) -> ShardMarker:
    statuses = Counter(record["status"] for record in result.records)
    reasons = Counter(record["error"] for record in result.records if record["status"] == STATUS_FAILED)
    seconds = result.seconds | {"commit": commit_s}
    return ShardMarker(
        shard_id=result.shard.shard_id,
        index=result.shard.index,
        rows=len({record["source_row"] for record in result.records}),
        records=len(result.records),
        ok=statuses[STATUS_OK],
        empty=statuses[STATUS_EMPTY],
        absent=statuses[STATUS_ABSENT],
        failed=statuses[STATUS_FAILED],
        dropped=statuses[STATUS_DROPPED],
        reasons=dict(reasons.most_common(_TOP_REASONS)),
        image_keys=_image_keys(result.records),
        seconds={stage: round(value, 6) for stage, value in seconds.items()},
        facts=result.facts,
        baseline=result.baseline,
        data=data,
    )


def _image_keys(records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Key and file name of every run of adjacent records of one image; the merge finds scattered images by them."""
    keys: list[tuple[str, str]] = []
    for record in records:
        if record["height"] is not None and (not keys or keys[-1][0] != record["image_key"]):
            keys.append((record["image_key"], record["file_name"]))
    return keys
