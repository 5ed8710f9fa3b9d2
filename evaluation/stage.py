"""The actor that evaluates shards, and how a shard's answers are made to count."""

from __future__ import annotations

import dataclasses
import platform
from dataclasses import dataclass

import pyarrow as pa

from litelvlm.evaluation.config import SweepConfig
from litelvlm.evaluation.engine import EvaluationEngine
from litelvlm.evaluation.markers import AnswersMarker, SweepFacts
from litelvlm.evaluation.protocol import Protocol
from litelvlm.evaluation.records import ANSWER_SCHEMA
from litelvlm.evaluation.shard_sweep import CALL_IMAGES, Row, ShardSweep
from litelvlm.pipeline.schemas import STATUS_FAILED
from litelvlm.pipeline.shards.manifest import Shard
from litelvlm.pipeline.shards.markers import create_marker, write_data
from litelvlm.pipeline.shards.payload import ShardWork
from litelvlm.pipeline.stages.failures import run_stage
from litelvlm.pipeline.stages.model_stage import ModelStage, guarded
from litelvlm.pipeline.stages.timed_model import device_name
from litelvlm.pipeline.storage.store import Storage


@dataclass(frozen=True, kw_only=True)
class EvaluatedShard:
    """A shard on its way to storage: rows of `ANSWER_SCHEMA` and what they took."""

    shard: Shard
    rows: list[Row]
    facts: SweepFacts
    conversations: list[str]


class EvaluateStage(ModelStage[EvaluationEngine, EvaluatedShard]):
    """A shard's images in, its answers out. `examples`: shard id -> rows for pictures."""

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
        super().__init__(engine, storage, session, num_threads)
        self._sweep, self._protocol, self._examples = sweep, protocol, examples

    def process(self, work: ShardWork) -> EvaluatedShard:
        """All rows of the shard."""
        share = self._share()
        sweep = ShardSweep(self._engine, self._annotator, share, work, self._sweep, self._protocol)
        examples = frozenset(self._examples.get(work.shard.shard_id, ()))
        rows = guarded(
            self._guard(work, share),
            len(work.images),
            lambda part: sweep.evaluate(part, examples),
            sweep.give_up,
            CALL_IMAGES,
        )
        rows.sort(key=lambda row: (row["combination"], row["source_row"], row["phrase_index"]))
        spent = dataclasses.asdict(sweep.spent)
        return EvaluatedShard(
            shard=work.shard,
            rows=rows,
            facts=SweepFacts(**spent, node=platform.node(), device=device_name(self._annotator)),
            conversations=[image.image_key for image in work.images if image.height is not None],
        )


@dataclass(kw_only=True)
class CommitAnswers:
    """A callable for `map_batches(batch_size=1)`: a shard's rows in, its marker out."""

    storage: Storage

    def __call__(self, batch: pa.Table) -> pa.Table:
        return run_stage(lambda result: commit_answers(self.storage, result), batch)


def commit_answers(storage: Storage, result: EvaluatedShard) -> AnswersMarker:
    """Write a shard's answers, then, exclusively, the marker that names them. Returns the marker that counts."""
    shard = result.shard
    marker = AnswersMarker(
        shard_id=shard.shard_id,
        index=shard.index,
        rows=shard.num_rows,
        answers=len(result.rows),
        failed=sum(row["status"] == STATUS_FAILED for row in result.rows),
        facts=result.facts,
        conversations=result.conversations,
        data=write_data(storage, shard.shard_id, result.rows, ANSWER_SCHEMA),
    )
    return create_marker(storage, marker)
