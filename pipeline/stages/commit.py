"""Making a shard count: its data file first, under a name of its own, then, exclusively, the marker that names it.

Readers trust markers only. A data file without a marker is an orphan of an attempt that died or lost the race; it is
swept when the run finishes. Losing the race is success: the shard is done.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.schemas import SHARD_SCHEMA, STATUS_FAILED, STATUSES, data_name, marker_name
from litelvlm.pipeline.shards.payload import ShardResult
from litelvlm.pipeline.stages.failures import run_stage
from litelvlm.pipeline.storage.store import Storage

_TOP_REASONS = 5


@dataclass(kw_only=True)
class CommitStage:
    """A callable for `map_batches(batch_size=1)`: a shard's records in, one small row for the driver out."""

    storage: Storage

    def __call__(self, batch: pa.Table) -> pa.Table:
        return run_stage(lambda result: commit_shard(self.storage, result), batch)


def commit_shard(storage: Storage, result: ShardResult) -> dict[str, Any]:
    """Write a shard's data file and marker. Returns the marker that counts: this one, or that of whoever was first."""
    started = time.perf_counter()
    written = write_data(storage, result.shard.shard_id, result.records, SHARD_SCHEMA)
    result.seconds["commit"] = time.perf_counter() - started
    return create_marker(storage, _marker(result) | written)


def write_data(storage: Storage, shard_id: str, rows: list[dict[str, Any]], schema: pa.Schema) -> dict[str, Any]:
    """Write a shard's rows under a name of their own. Returns what its marker has to say of the file."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
    data = buffer.getvalue()
    name = data_name(shard_id, uuid.uuid4().hex[:16])
    storage.write_bytes(name, data)
    return {"data": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes_written": len(data)}


def create_marker(storage: Storage, marker: dict[str, Any]) -> dict[str, Any]:
    """Create the marker of `marker["shard_id"]`, unless somebody did. Returns the one that counts."""
    shard_id = marker["shard_id"]
    marker = marker | {"finished_at": time.time()}
    if not storage.create_exclusive(marker_name(shard_id), json.dumps(marker, sort_keys=True).encode()):
        return read_marker(storage, shard_id)
    return marker


def read_marker(storage: Storage, shard_id: str) -> dict[str, Any]:
    """The marker of a shard that is done. Raises FileNotFoundError where it is not."""
    return json.loads(storage.read_bytes(marker_name(shard_id)))


def find_marker(storage: Storage, shard_id: str) -> dict[str, Any] | None:
    """The marker of a shard; None while it is not done, whatever a listing says."""
    try:
        return read_marker(storage, shard_id)
    except FileNotFoundError:
        return None


def read_data(storage: Storage, marker: dict[str, Any], schema: pa.Schema = SHARD_SCHEMA) -> pa.Table:
    """The rows that a marker stands for.

    Raises:
        DataError: the data file is gone or is not the one that was committed.
    """
    again = f"remove {marker_name(marker['shard_id'])} and run again to have the shard done anew"
    try:
        data = storage.read_bytes(marker["data"])
    except FileNotFoundError as error:
        raise DataError(f"{marker['data']} is gone, though its marker says it was written; {again}") from error
    if hashlib.sha256(data).hexdigest() != marker["sha256"]:
        raise DataError(f"{marker['data']} is not what was committed: its checksum differs; {again}")
    return pq.read_table(io.BytesIO(data), schema=schema)


def _marker(result: ShardResult) -> dict[str, Any]:
    statuses = Counter(record["status"] for record in result.records)
    reasons = Counter(record["error"] for record in result.records if record["status"] == STATUS_FAILED)
    shard = result.shard
    return {
        "shard_id": shard.shard_id,
        "index": shard.index,
        "rows": len({record["source_row"] for record in result.records}),
        "records": len(result.records),
        **{status: statuses.get(status, 0) for status in STATUSES},
        "reasons": dict(reasons.most_common(_TOP_REASONS)),
        "image_keys": _image_keys(result.records),
        "seconds": {stage: round(value, 6) for stage, value in result.seconds.items()},
        "facts": result.facts,
        "baseline": result.baseline,
    }


def _image_keys(records: list[dict[str, Any]]) -> list[list[str]]:
    """Key and file name of every run of adjacent records of one image; the merge finds scattered images by them."""
    keys: list[list[str]] = []
    for record in records:
        if record["height"] is not None and (not keys or keys[-1][0] != record["image_key"]):
            keys.append([record["image_key"], record["file_name"]])
    return keys
