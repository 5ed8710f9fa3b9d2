"""An evaluation from configuration to exit code: plan, claim the output, execute what is left, merge, report."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any, TextIO

from litelvlm.evaluation.config import NOT_EVALUATED, EvaluationConfig
from litelvlm.evaluation.conversations import Conversations
from litelvlm.evaluation.engine import EvaluationEngine, LiteLVLMEvaluation
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
from litelvlm.pipeline.errors import MISTAKES, RunError, UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE, EXIT_FAILURE_RATE
from litelvlm.pipeline.measure.row_bar import RowBar
from litelvlm.pipeline.output.finalize import done_shards, is_finished
from litelvlm.pipeline.run import uri_policy
from litelvlm.pipeline.schemas import ATTEMPTS_DIR, SUCCESS_NAME
from litelvlm.pipeline.shards.claim import claim_output, refuse_others
from litelvlm.pipeline.shards.manifest import Plan, Shard, make_plan
from litelvlm.pipeline.stages.commit import find_marker
from litelvlm.pipeline.stages.failures import is_cluster_failure
from litelvlm.pipeline.storage.store import Storage

_OWN_NAMES = (ANSWERS_NAME, RESULTS_NAME, RESULTS_CSV_NAME, SUMMARY_NAME, REPORT_NAME)
_MAX_STALLED = 3  # executions in a row that committed nothing


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
    stream = stream or sys.stderr
    run = config.run
    engine = engine or LiteLVLMEvaluation(model=run.model, batch_images=run.cluster.batch_images)
    try:
        if run.source.mask_column is None:
            raise ValueError("--mask-column is missing: an evaluation needs true masks")
        policy = uri_policy(run)
        config, remarks = _fitted(config, engine)
        plan = _planned(config, engine.revision())
        storage = storage or Storage(run.output, run.storage_options)
        refuse_others(storage, plan, run)
        if not run.overwrite and is_finished(storage, plan.fingerprint):
            advice = f"To have the report made anew, remove {SUCCESS_NAME} and run again"
            print(f"{storage.root} is complete: {plan.num_rows} rows; nothing to do. {advice}", file=stream)
            return EXIT_DONE
        remarks += engine.check()
        if run.overwrite:
            storage.delete([SUCCESS_NAME, *_OWN_NAMES])
        claim_output(storage, plan, run)
    except MISTAKES as error:
        raise UsageError(str(error)) from error
    print(
        "\n".join([f"columns: {plan.mapping.describe()}", f"protocol {config.protocol.describe()}", *remarks]),
        file=stream,
    )
    return _Evaluation(config, engine, plan, storage, policy, stream).run()


def _fitted(config: EvaluationConfig, engine: EvaluationEngine) -> tuple[EvaluationConfig, list[str]]:
    """The sweep as far as it makes sense for the model, and what is to be said of the rest."""
    total, sizes = engine.num_visual_tokens(), engine.sizes()
    sweep = config.sweep
    if "fastv" in sweep.rules and sizes is not None and sweep.fastv_layer >= sizes.llm.num_hidden_layers:
        most = sizes.llm.num_hidden_layers - 1
        raise ValueError(f"--fastv-layer is {sweep.fastv_layer}; this language model allows {most} at most")
    beyond = [str(budget) for budget in sweep.budgets if budget > total]
    if not beyond:
        return config, []
    remark = f"budgets of more than all {total} tokens are the rule none, evaluated once: {', '.join(beyond)}"
    return dataclasses.replace(config, sweep=sweep.within(total)), [remark]


def _planned(config: EvaluationConfig, revision: str) -> Plan:
    """The plan of the run, tied to what is evaluated."""
    plan = make_plan(config.run, revision=revision)
    facts = {key: value for key, value in plan.facts.items() if key not in NOT_EVALUATED} | config.facts()
    facts = json.loads(json.dumps(facts))
    return dataclasses.replace(plan, facts=facts, fingerprint=fingerprint(facts))


class _Evaluation:
    def __init__(
        self,
        config: EvaluationConfig,
        engine: EvaluationEngine,
        plan: Plan,
        storage: Storage,
        policy: Any,
        stream: TextIO,
    ) -> None:
        self._config, self._engine, self._plan, self._storage = config, engine, plan, storage
        self._policy, self._stream = policy, stream
        self._done: set[str] = set()
        self._conversations = Conversations(config.protocol.layout)
        self._answers = self._failed = 0  # of this session

    def run(self) -> int:
        todo = self._left()
        combinations = len(self._config.sweep.combinations())
        self._say(
            f"{self._plan.num_rows} rows in {len(self._plan.shards)} shards under {combinations} combinations; "
            f"{len(todo)} shards to do"
        )
        if todo:
            self._execute(todo)
        engine = self._engine
        model = ModelFacts(
            revision=engine.revision(), num_visual_tokens=engine.num_visual_tokens(), sizes=engine.sizes()
        )
        summary = merge_evaluation(self._storage, self._plan, self._config, model)
        write_report(self._storage, self._config, self._policy)
        return self._finish(summary)

    def _finish(self, summary: dict[str, Any]) -> int:
        failed, allowed = summary["failed"], self._config.run.max_failure_rate
        if failed > allowed * summary["answers"]:
            self._say(
                f"error: {failed} of {summary['answers']} answers failed, more than --max-failure-rate {allowed} "
                f"allows; reasons are in {ANSWERS_NAME}"
            )
            return EXIT_FAILURE_RATE
        content = {"fingerprint": self._plan.fingerprint, "rows": self._plan.num_rows, "answers": summary["answers"]}
        self._storage.delete(self._storage.list(ATTEMPTS_DIR))
        self._storage.write_bytes(SUCCESS_NAME, (json.dumps(content, sort_keys=True) + "\n").encode())
        self._say(f"done: {summary['answers']} answers, {failed} failed, in {self._storage.root}: {REPORT_NAME}")
        return EXIT_DONE

    def _execute(self, todo: list[Shard]) -> None:
        """Run until every shard has its marker, again for those that a failing cluster left out."""
        from litelvlm.pipeline.cluster import ray_session

        stalled = 0
        done = self._plan.num_rows - sum(shard.num_rows for shard in todo)
        bar = RowBar(self._plan.num_rows, done, stream=self._stream)
        try:
            with ray_session(self._config.run.cluster):
                execution = self._execution()
                while todo:
                    error = self._execute_once(execution, todo, bar)
                    left = self._left()
                    stalled = stalled + 1 if len(left) == len(todo) else 0
                    if stalled >= _MAX_STALLED:
                        raise RunError(f"{stalled} executions in a row committed nothing; the last ended with {error}")
                    if left:
                        self._say(f"{len(left)} shards are left ({error or 'no error'}); going on with them")
                    todo = left
        finally:
            bar.close(self._figures(bar))

    def _execute_once(self, execution: Any, todo: list[Shard], bar: RowBar) -> str | None:
        try:
            for marker in execution.run(todo):
                self._note(marker)
                self._answers += marker["answers"]
                self._failed += marker["failed"]
                bar.advance(marker["rows"], self._figures(bar))
        except Exception as error:
            if not is_cluster_failure(error):
                raise
            return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        return None

    def _execution(self) -> Any:
        from litelvlm.evaluation.execute import SweepExecution
        from litelvlm.pipeline.cluster import choose_device, max_decoders, quiet_data_context

        quiet_data_context()
        run = self._config.run
        device = choose_device(run)
        return SweepExecution(
            config=dataclasses.replace(run, baseline_images=self._plan.num_rows),  # true masks of every row are read
            plan=self._plan,
            storage=self._storage,
            engine=self._engine.on_device(device),
            policy=self._policy,
            on_gpu=device == "cuda",
            max_decoders=max_decoders(run.cluster),
            evaluation=self._config,
        )

    def _left(self) -> list[Shard]:
        """Shards without a marker, as far as a listing and this session know."""
        listed = done_shards(self._storage)
        for shard in self._plan.shards:
            if shard.shard_id in self._done or shard.shard_id not in listed:
                continue
            if (marker := find_marker(self._storage, shard.shard_id)) is not None:
                self._note(marker)
        return [shard for shard in self._plan.shards if shard.shard_id not in self._done]

    def _note(self, marker: dict[str, Any]) -> None:
        """A shard is done. Raises UsageError where it tells that the input tears conversations apart."""
        if marker["shard_id"] not in self._done:
            self._done.add(marker["shard_id"])
            self._conversations.add(marker)

    def _figures(self, bar: RowBar) -> str:
        return f"{self._answers / max(bar.elapsed_s, 1e-6):.1f} answers/s  failed {self._failed}"

    def _say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)
