"""The actor that evaluates shards, and how a shard's answers are made to count."""

from __future__ import annotations

import dataclasses
import platform
import threading
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from litelvlm.evaluation.config import SweepConfig
from litelvlm.evaluation.conversations import conversation_keys
from litelvlm.evaluation.engine import EvaluationEngine
from litelvlm.evaluation.protocol import Protocol
from litelvlm.evaluation.records import ANSWER_SCHEMA, STATUS_FAILED
from litelvlm.evaluation.shard_sweep import CALL_IMAGES, Row, ShardSweep
from litelvlm.pipeline.errors import ModelLoadError
from litelvlm.pipeline.shards.attempts import Guard
from litelvlm.pipeline.shards.manifest import Shard
from litelvlm.pipeline.shards.payload import ShardWork
from litelvlm.pipeline.stages.commit import create_marker, write_data
from litelvlm.pipeline.stages.failures import run_stage
from litelvlm.pipeline.stages.model_thread import ModelThread
from litelvlm.pipeline.stages.timed_model import device_name
from litelvlm.pipeline.storage.store import Storage


@dataclass(kw_only=True)
class EvaluatedShard:
    """A shard on its way to storage: rows of `ANSWER_SCHEMA` and what they took."""

    shard: Shard
    rows: list[Row]
    facts: dict[str, Any]
    conversations: list[str]


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
        self._load_error: ModelLoadError | None = None
        try:
            self._annotator = self._engine.annotator(num_threads)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            # Raised by the first call: an actor that dies while it starts would be restarted, and its reason lost.
            self._load_error = ModelLoadError(str(error) or type(error).__name__)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return run_stage(self.evaluate_shard, batch)

    def evaluate_shard(self, work: ShardWork) -> EvaluatedShard:
        """All rows of the shard. Raises ModelLoadError where there is no model."""
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
        conversations = conversation_keys(work.images)
        facts = dataclasses.asdict(sweep.spent) | {"node": platform.node(), "device": device_name(self._annotator)}
        return EvaluatedShard(shard=work.shard, rows=rows, facts=facts, conversations=conversations)


@dataclass(kw_only=True)
class CommitAnswers:
    """A callable for `map_batches(batch_size=1)`: a shard's rows in, its marker out."""

    storage: Storage

    def __call__(self, batch: pa.Table) -> pa.Table:
        return run_stage(lambda result: commit_answers(self.storage, result), batch)


def commit_answers(storage: Storage, result: EvaluatedShard) -> dict[str, Any]:
    """Write a shard's answers, then, exclusively, the marker that names them. Returns the marker that counts."""
    shard = result.shard
    marker = {
        "shard_id": shard.shard_id,
        "index": shard.index,
        "rows": shard.num_rows,
        "answers": len(result.rows),
        "failed": sum(row["status"] == STATUS_FAILED for row in result.rows),
        "facts": result.facts,
        "conversations": result.conversations,
    }
    return create_marker(storage, marker | write_data(storage, shard.shard_id, result.rows, ANSWER_SCHEMA))
