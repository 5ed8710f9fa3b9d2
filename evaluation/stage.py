"""The actor that evaluates shards, and how a shard's answers are made to count."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import platform
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.config import SweepConfig
from evaluation.engine import EvaluationEngine
from evaluation.protocol import Protocol
from evaluation.records import ANSWER_SCHEMA, STATUS_FAILED
from evaluation.shard_sweep import CALL_IMAGES, Row, ShardSweep
from pipeline.attempts import Guard
from pipeline.commit import DataError, read_marker
from pipeline.failures import CheckpointError, run_stage
from pipeline.model_thread import ModelThread
from pipeline.plan import Shard
from pipeline.records import data_name, marker_name
from pipeline.storage import Storage
from pipeline.timed_model import device_name
from pipeline.work import ShardWork


@dataclass(kw_only=True)
class EvaluatedShard:
    """A shard on its way to storage: rows of `ANSWER_SCHEMA` and what they took."""

    shard: Shard
    rows: list[Row]
    facts: dict[str, Any]


class EvaluateStage:
    """A callable class for `map_batches(batch_size=1)` on an actor pool. `examples`: shard id -> rows for pictures."""

    def __init__(
        self,
        engine: EvaluationEngine,
        storage: Storage,
        session: str,
        num_threads: int | None,
        sweep: SweepConfig,
        protocol: Protocol,
        examples: dict[str, tuple[int, ...]],
    ) -> None:
        self._engine: Any = ModelThread(engine)
        self._storage, self._session = storage, session
        self._sweep, self._protocol, self._examples = sweep, protocol, examples
        self._lock = threading.Lock()
        self._annotator: Any = None
        self._load_error: CheckpointError | None = None
        try:
            self._annotator = self._engine.annotator(num_threads)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            # Raised by the first call: an actor that dies while it starts would be restarted, and its reason lost.
            self._load_error = CheckpointError(str(error) or type(error).__name__)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return run_stage(self.evaluate_shard, batch)

    def evaluate_shard(self, work: ShardWork) -> EvaluatedShard:
        """All rows of the shard. Raises CheckpointError where there is no model."""
        if self._load_error is not None:
            raise self._load_error
        guard = Guard(
            storage=self._storage,
            session=self._session,
            stage="annotate",
            shard_id=work.shard.shard_id,
            prior_kills=work.prior_kills.get("annotate", 0),
        )
        sweep = ShardSweep(self._engine, self._annotator, self._lock, work, self._sweep, self._protocol)
        examples = frozenset(self._examples.get(work.shard.shard_id, ()))
        rows: list[Row] = []
        for units, found in guard.run(len(work.images), lambda part: sweep.evaluate(part, examples), batch=CALL_IMAGES):
            rows += sweep.give_up(units) if found is None else found
        rows.sort(key=lambda row: (row["combination"], row["source_row"], row["phrase_index"]))
        facts = dataclasses.asdict(sweep.spent) | {"node": platform.node(), "device": device_name(self._annotator)}
        return EvaluatedShard(shard=work.shard, rows=rows, facts=facts)


@dataclass(kw_only=True)
class CommitAnswers:
    """A callable for `map_batches(batch_size=1)`: a shard's rows in, its marker out."""

    storage: Storage

    def __call__(self, batch: pa.Table) -> pa.Table:
        return run_stage(lambda result: commit_answers(self.storage, result), batch)


def commit_answers(storage: Storage, result: EvaluatedShard) -> dict[str, Any]:
    """Write a shard's answers, then, exclusively, the marker that names them. Returns the marker that counts."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(result.rows, schema=ANSWER_SCHEMA), buffer, compression="zstd")
    data = buffer.getvalue()
    shard_id = result.shard.shard_id
    name = data_name(shard_id, uuid.uuid4().hex[:16])
    storage.write_bytes(name, data)
    marker = {
        "shard_id": shard_id,
        "index": result.shard.index,
        "rows": result.shard.num_rows,
        "answers": len(result.rows),
        "failed": sum(row["status"] == STATUS_FAILED for row in result.rows),
        "data": name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "facts": result.facts,
        "finished_at": time.time(),
    }
    if not storage.create_exclusive(marker_name(shard_id), json.dumps(marker, sort_keys=True).encode()):
        return read_marker(storage, shard_id)
    return marker


def read_answers(storage: Storage, marker: dict[str, Any]) -> pa.Table:
    """The answers that a marker stands for.

    Raises DataError where the file is gone or is not the one that was committed.
    """
    try:
        data = storage.read_bytes(marker["data"])
    except FileNotFoundError as error:
        raise DataError(f"{marker['data']} is gone, though its marker says it was written") from error
    if hashlib.sha256(data).hexdigest() != marker["sha256"]:
        raise DataError(f"{marker['data']} is not what was committed: its checksum differs")
    return pq.read_table(io.BytesIO(data), schema=ANSWER_SCHEMA)
