"""One execution of the sweep on Ray Data: the annotation run's own first stage, then evaluation and commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from litelvlm.evaluation.config import EvaluationConfig
from litelvlm.evaluation.engine import EvaluationEngine
from litelvlm.evaluation.stage import CommitAnswers, EvaluateStage
from litelvlm.pipeline.shards.manifest import Plan
from litelvlm.pipeline.stages.baseline import choose_rows
from litelvlm.pipeline.stages.execute import Execution, Stage


@dataclass(frozen=True, kw_only=True)
class SweepExecution(Execution):
    """What an execution needs besides the list of shards. `config.baseline_images` covers every row: all have truth."""

    evaluation: EvaluationConfig
    engine: EvaluationEngine

    def _actor(self, session: str) -> tuple[type, tuple[Any, ...]]:
        sweep, protocol = self.evaluation.sweep, self.evaluation.protocol
        examples = example_rows(self.plan, self.evaluation)
        threads = self._threads_per_actor()
        return EvaluateStage, (self.engine, self.storage, session, threads, sweep, protocol, examples)

    def _commit_stage(self) -> Stage:
        return CommitAnswers(storage=self.storage)


def example_rows(plan: Plan, config: EvaluationConfig) -> dict[str, tuple[int, ...]]:
    """The rows whose images the report shows, the same ones every time: shard id -> rows of its file."""
    if not config.sweep.example_images:
        return {}
    return choose_rows(plan.shards, config.sweep.example_images, config.run.source.sample)
