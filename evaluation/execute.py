"""One execution of the sweep on Ray Data: the annotation run's own first stage, then evaluation and commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray

from evaluation.config import EvaluationConfig
from evaluation.engine import EvaluationEngine
from evaluation.stage import CommitAnswers, EvaluateStage
from pipeline.attempts import new_session
from pipeline.baseline import choose_rows
from pipeline.execute import Execution
from pipeline.failures import Failure
from pipeline.plan import Plan, Shard
from pipeline.work import DoneShard, unpack_payload

# As in `pipeline.execute`: stages that ask for the same resources would be fused into one task.
_DECODE_CPUS, _ACTOR_CPUS, _COMMIT_CPUS = 0.75, 1.0, 0.25


@dataclass(frozen=True, kw_only=True)
class SweepExecution(Execution):
    """What an execution needs besides the list of shards. `config.baseline_images` covers every row: all have truth."""

    evaluation: EvaluationConfig
    engine: EvaluationEngine

    def run(self, shards: list[Shard]) -> Iterator[dict[str, Any]]:
        """Evaluate shards, in whatever order they end. Yields their markers as they are committed.

        Raises:
            UsageError, StorageError, StageError: a stage broke.
            Exception: the cluster failed, see `pipeline.failures.is_cluster_failure`; what was committed stays.
        """
        session = new_session()
        dataset: ray.data.Dataset = ray.data.from_items(self._items(shards), override_num_blocks=len(shards))
        dataset = dataset.map_batches(
            _as_function(self._decode_stage(session)),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=_DECODE_CPUS,
            concurrency=min(self.max_decoders, len(shards)) if self.max_decoders else None,
        )
        dataset = dataset.map_batches(
            EvaluateStage,
            fn_constructor_args=self._stage_arguments(session),
            batch_size=1,
            batch_format="pyarrow",
            compute=self._actor_pool(),
            num_cpus=_ACTOR_CPUS,
            num_gpus=self.config.cluster.gpus_per_actor if self.on_gpu else None,
        )
        dataset = dataset.map_batches(
            _as_function(CommitAnswers(storage=self.storage)),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=_COMMIT_CPUS,
        )
        for row in dataset.iter_rows():
            result = unpack_payload(row)
            if isinstance(result, Failure):
                result.throw()
            yield result.marker if isinstance(result, DoneShard) else result

    def _stage_arguments(self, session: str) -> tuple[Any, ...]:
        sweep, protocol = self.evaluation.sweep, self.evaluation.protocol
        examples = example_rows(self.plan, self.evaluation)
        return self.engine, self.storage, session, self._threads_per_actor(), sweep, protocol, examples


def example_rows(plan: Plan, config: EvaluationConfig) -> dict[str, tuple[int, ...]]:
    """The rows whose images the report shows, the same ones every time: shard id -> rows of its file."""
    if not config.sweep.example_images:
        return {}
    return choose_rows(plan.shards, config.sweep.example_images, config.run.source.sample)


def _as_function(stage: Any) -> Callable[[Any], Any]:
    """Ray Data takes a function or a class, and treats other callables as classes."""

    def call(batch: Any) -> Any:
        return stage(batch)

    call.__name__ = type(stage).__name__
    return call
