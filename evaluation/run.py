"""Evaluating rules, budgets and seeds on a data set: what differs from annotating it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TextIO

from litelvlm.evaluation.choose_engine import choose_evaluation
from litelvlm.evaluation.config import NOT_EVALUATED, EvaluationConfig
from litelvlm.evaluation.conversations import Conversations
from litelvlm.evaluation.engine import EvaluationEngine
from litelvlm.evaluation.markers import AnswersMarker
from litelvlm.evaluation.merge import (
    ANSWERS_NAME,
    RESULTS_CSV_NAME,
    RESULTS_NAME,
    SUMMARY_NAME,
    ModelFacts,
    merge_evaluation,
)
from litelvlm.evaluation.report.write import REPORT_NAME, write_report
from litelvlm.pipeline.config import fingerprint
from litelvlm.pipeline.dataset_run import DatasetRun
from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE, EXIT_FAILURE_RATE
from litelvlm.pipeline.measure.row_bar import RowBar
from litelvlm.pipeline.output.finalize import mark_finished, sweep
from litelvlm.pipeline.schemas import SUCCESS_NAME
from litelvlm.pipeline.shards.manifest import RunPlan, Shard, make_plan
from litelvlm.pipeline.shards.payload import ShardTask
from litelvlm.pipeline.storage.store import Storage


def evaluate_dataset(
    config: EvaluationConfig,
    *,
    engine: EvaluationEngine | None = None,
    stream: TextIO | None = None,
    storage: Storage | None = None,
) -> int:
    """Evaluate every combination on a data set. Running it again resumes. Returns the exit code.

    `engine` and `storage` default to the model and the output that the configuration names.

    Raises:
        UsageError: a mistake in the configuration or the input, to be shown as one line.
        RunError, StorageError: the cluster or the storage failed; what was committed stays.
    """
    if engine is None:
        try:
            config, engine = choose_evaluation(config)
        except ValueError as error:
            raise UsageError(str(error)) from error
    return EvaluationRun(config, engine, storage=storage, stream=stream).run()


class EvaluationRun(DatasetRun[EvaluationEngine, AnswersMarker]):
    """A run of `jobs/evaluate.py`."""

    marker = AnswersMarker
    own_names = (ANSWERS_NAME, RESULTS_NAME, RESULTS_CSV_NAME, SUMMARY_NAME, REPORT_NAME)
    advice: ClassVar[str] = f". To have the report made anew, remove {SUCCESS_NAME} and run again"

    def __init__(
        self,
        config: EvaluationConfig,
        engine: EvaluationEngine,
        *,
        storage: Storage | None = None,
        stream: TextIO | None = None,
    ) -> None:
        super().__init__(config.run, engine, storage=storage, stream=stream)
        self._evaluation = config
        self._remarks: list[str] = []
        self._conversations = Conversations(config.protocol.layout)
        self._answers = self._failed = 0  # of this session
        self._data_names: set[str] = set()

    def make_plan(self) -> RunPlan:
        """The plan of the run, tied to what is evaluated."""
        if self.config.source.mask_column is None:
            raise ValueError("--mask-column is missing: an evaluation needs true masks")
        self._evaluation, self._remarks = _fitted(self._evaluation, self.engine)
        plan = make_plan(self.config, revision=self.engine.revision())
        facts = {key: value for key, value in plan.facts.items() if key not in NOT_EVALUATED}
        facts = json.loads(json.dumps(facts | self._evaluation.facts()))
        return dataclasses.replace(plan, facts=facts, fingerprint=fingerprint(facts))

    def check(self) -> list[str]:
        return [f"protocol {self._evaluation.protocol.describe()}", *self._remarks, *super().check()]

    def begin(self, todo: list[Shard]) -> None:
        combinations = len(self._evaluation.sweep.combinations())
        self.say(
            f"{self.plan.num_rows} rows in {len(self.plan.shards)} shards under {combinations} combinations; "
            f"{len(todo)} shards to do"
        )

    @contextmanager
    def session(self, todo: list[Shard]) -> Iterator[None]:
        done = self.plan.num_rows - sum(shard.num_rows for shard in todo)
        self._bar = RowBar(self.plan.num_rows, done, stream=self.stream)
        try:
            yield
        finally:
            self._bar.close(self._figures())

    def count(self, marker: AnswersMarker) -> None:
        """Raises UsageError where a shard tells that the input tears conversations apart."""
        self._conversations.add(marker)
        self._data_names.add(marker.data.name)

    def committed(self, marker: AnswersMarker) -> None:
        self._answers += marker.answers
        self._failed += marker.failed
        self._bar.advance(marker.rows, self._figures())

    def actor(self, engine: EvaluationEngine, session: str, num_threads: int) -> tuple[type, tuple[Any, ...]]:
        from litelvlm.evaluation.stage import EvaluateStage

        sweep, protocol = self._evaluation.sweep, self._evaluation.protocol
        examples = example_rows(self.plan, self._evaluation)
        return EvaluateStage, (engine, self.storage, session, num_threads, sweep, protocol, examples)

    def commit_stage(self) -> Any:
        from litelvlm.evaluation.stage import CommitAnswers

        return CommitAnswers(storage=self.storage)

    def task(self, shard: Shard, prior_kills: dict[str, int]) -> ShardTask:
        return ShardTask(shard=shard, prior_kills=prior_kills, truth_rows=None)

    def finish(self) -> int:
        engine = self.engine
        model = ModelFacts(
            revision=engine.revision(), num_visual_tokens=engine.num_visual_tokens(), sizes=engine.sizes()
        )
        summary = merge_evaluation(self.storage, self.plan, self._evaluation, model)
        write_report(self.storage, self._evaluation, self.policy)
        answers, failed, allowed = summary["answers"], summary["failed"], self.config.max_failure_rate
        if failed > allowed * answers:
            self.say(
                f"error: {failed} of {answers} answers failed, more than --max-failure-rate {allowed} allows; "
                f"reasons are in {ANSWERS_NAME}"
            )
            return EXIT_FAILURE_RATE
        sweep(self.storage, self._data_names)
        mark_finished(self.storage, self.plan, answers=answers)
        self.say(f"done: {answers} answers, {failed} failed, in {self.storage.root}: {REPORT_NAME}")
        return EXIT_DONE

    def _figures(self) -> str:
        return f"{self._answers / max(self._bar.elapsed_s, 1e-6):.1f} answers/s  failed {self._failed}"


def example_rows(plan: RunPlan, config: EvaluationConfig) -> dict[str, tuple[int, ...]]:
    """The rows whose images the report shows, the same ones every time: shard id -> rows of its file."""
    from litelvlm.pipeline.stages.baseline import choose_rows

    if not config.sweep.example_images:
        return {}
    return choose_rows(plan.shards, config.sweep.example_images, config.run.source.sample)


def _fitted(config: EvaluationConfig, engine: EvaluationEngine) -> tuple[EvaluationConfig, list[str]]:
    """The sweep as far as it makes sense for the model, the model's words, and what is to be said of the rest."""
    total, sizes = engine.num_visual_tokens(), engine.sizes()
    config = dataclasses.replace(config, protocol=dataclasses.replace(config.protocol, template=engine.template()))
    sweep = config.sweep
    if "fastv" in sweep.rules and sizes is not None and sweep.fastv_layer >= sizes.llm.num_hidden_layers:
        most = sizes.llm.num_hidden_layers - 1
        raise ValueError(f"--fastv-layer is {sweep.fastv_layer}; this language model allows {most} at most")
    beyond = [str(budget) for budget in sweep.budgets if budget > total]
    if not beyond:
        return config, []
    remark = f"budgets of more than all {total} tokens are the rule none, evaluated once: {', '.join(beyond)}"
    return dataclasses.replace(config, sweep=sweep.within(total)), [remark]
