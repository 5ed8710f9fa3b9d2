"""A run over a data set, from configuration to exit code: plan, claim the output, execute what is left, finish.

Annotating and evaluating are runs; each says what differs.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TextIO, TypeVar

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.errors import MISTAKES, Interrupted, NodeError, RunError, UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.fetch.policy import UriPolicy, uri_policy
from litelvlm.pipeline.output.finalize import is_finished
from litelvlm.pipeline.schemas import SUCCESS_NAME
from litelvlm.pipeline.shards.claim import check_claim, claim_output, find_run, refuse_others, release_claim
from litelvlm.pipeline.shards.manifest import RunPlan, Shard
from litelvlm.pipeline.shards.marker_log import MarkerLog
from litelvlm.pipeline.shards.markers import Marker, done_shards, find_markers
from litelvlm.pipeline.shards.payload import ShardTask
from litelvlm.pipeline.stages.engine import Engine
from litelvlm.pipeline.stages.failures import is_cluster_failure
from litelvlm.pipeline.storage.store import Storage

if TYPE_CHECKING:
    from litelvlm.pipeline.footing import Footing

E = TypeVar("E", bound=Engine)
M = TypeVar("M", bound=Marker)

_MAX_STALLED = 3  # executions in a row that committed nothing


class DatasetRun(ABC, Generic[E, M]):
    """One run. Running it again resumes.

    `storage` defaults to the output that the configuration names, `stream` to standard error.
    """

    marker: type[M]
    own_names: ClassVar[tuple[str, ...]] = ()  # files beside those of every run
    advice: ClassVar[str] = ""  # for who starts a run that is complete

    plan: RunPlan
    storage: Storage
    policy: UriPolicy

    def __init__(
        self, config: RunConfig, engine: E, *, storage: Storage | None = None, stream: TextIO | None = None
    ) -> None:
        self.config, self.engine = config, engine
        self.stream = stream or sys.stderr
        self.footing: Footing | None = None
        self.executions = 1
        self._storage = storage
        self._done: set[str] = set()

    def run(self) -> int:
        """Returns the exit code: done or failure rate exceeded.

        Raises:
            UsageError: a mistake in the configuration or the input, to be shown as one line.
            RunError, StageError, StorageError, DataError: the cluster, the program, the store or the output failed;
                what was committed stays.
        """
        try:
            self.policy = uri_policy(self.config)
            self.plan = self.make_plan()
            self.storage = self._storage or Storage(self.config.output, self.config.storage_options)
            refuse_others(self.storage, self.plan, self.config)
            if not self.config.overwrite and is_finished(self.storage, self.plan.fingerprint):
                if not self.lacks_something():
                    self.say(f"{self.storage.root} is complete: {self.plan.num_rows} rows; nothing to do{self.advice}")
                    return EXIT_DONE
                remarks = None
            else:
                remarks = self.check()
                check_claim(self.storage, self.config)
        except MISTAKES as error:
            raise UsageError(str(error)) from error
        from litelvlm.pipeline.cluster import ray_session

        with ray_session(self.config.cluster):
            try:
                return self.complete() if remarks is None else self._run_on_ray(remarks)
            except Interrupted as stop:  # told before Ray is shut down: who stops a job may not wait for that
                done = f"{len(self._done)} of {len(self.plan.shards)} shards are committed"
                self.say(f"{stop.word}: {done}; run again to resume")
                stop.told = True
                raise

    def _run_on_ray(self, remarks: list[str]) -> int:
        """Look at the cluster, claim the output, work. What is found wrong before the claim leaves the output alone."""
        if self.config.overwrite or find_run(self.storage) is None or self._left():
            self.footing = self.preflight()
        try:
            if self.config.overwrite and self.own_names:
                self.storage.delete([SUCCESS_NAME, *self.own_names])
            resumed = claim_output(self.storage, self.plan, self.config)
        except MISTAKES as error:
            raise UsageError(str(error)) from error
        self.say("\n".join([*remarks, f"columns: {self.plan.mapping.describe()}", *self.plan.remarks]))
        try:
            return self.work(resumed=resumed)
        except UsageError:  # the model's weights do not fit, which is seen only where they are loaded
            if not resumed and not done_shards(self.storage):
                release_claim(self.storage)
            raise

    def preflight(self) -> Footing:
        """What the run stands on. Raises UsageError where it never fits, RunError where it was waited for in vain."""
        from litelvlm.pipeline.preflight import prepare

        return prepare(self.config, self.engine, self.say)

    def work(self, *, resumed: bool) -> int:
        """Execute what is left and finish. Returns the exit code."""
        todo = self._left() if resumed else list(self.plan.shards)
        self.begin(todo)
        self._log = MarkerLog(self.storage)
        if todo:
            self._execute(todo)
        return self.finish()

    @abstractmethod
    def make_plan(self) -> RunPlan:
        """What there is to do. Raises ValueError for input or settings that do not fit."""

    def check(self) -> list[str]:
        """Validate model and settings. Returns remarks for the user."""
        return self.engine.check()

    @abstractmethod
    def begin(self, todo: list[Shard]) -> None:
        """What is left is known: say so."""

    @abstractmethod
    def session(self, todo: list[Shard]) -> Any:
        """A context manager around the executions, with Ray running: shows progress."""

    @abstractmethod
    def count(self, marker: M) -> None:
        """A shard is done, in this session or an earlier one. Called once for each."""

    @abstractmethod
    def committed(self, marker: M) -> None:
        """A shard that was counted was done in this session."""

    @abstractmethod
    def finish(self) -> int:
        """Every shard is done: make the outputs. Returns the exit code."""

    def lacks_something(self) -> bool:
        """Whether a finished run is without what is asked for now, and can be had without annotating."""
        return False

    def complete(self) -> int:
        """Make what `lacks_something` found missing. Returns the exit code."""
        return EXIT_DONE

    @abstractmethod
    def actor(self, engine: E, session: str, num_threads: int) -> tuple[type, tuple[Any, ...]]:
        """The class of the stage that holds the model, and what it is made with."""

    @abstractmethod
    def commit_stage(self) -> Any:
        """The stage that makes a shard count."""

    @abstractmethod
    def task(self, shard: Shard, prior_kills: dict[str, int]) -> ShardTask:
        """What is to be decoded of a shard."""

    def say(self, line: str) -> None:
        """Tell the user."""
        print(line, file=self.stream, flush=True)

    @property
    def num_left(self) -> int:
        """Shards that are not known to be done."""
        return len(self.plan.shards) - len(self._done)

    def _execute(self, todo: list[Shard]) -> None:
        """Execute until every shard has its marker, again for those that a failing cluster left out."""
        stalled = 0
        with self.session(todo):
            while todo:
                footing = self.footing
                error = self._execute_once(self._execution(), todo)
                left = self._left()
                progressed = len(left) < len(todo) or self.footing is not footing
                stalled = 0 if progressed else stalled + 1
                if stalled >= _MAX_STALLED:
                    raise RunError(f"{_MAX_STALLED} executions in a row committed nothing; the last ended with {error}")
                if left:
                    self.executions += 1
                    self.say(f"{len(left)} shards are left ({error or 'no error'}); going on with them")
                todo = left

    def _execute_once(self, execution: Any, todo: list[Shard]) -> str | None:
        """One execution. Returns what the cluster's failure was, if it failed; a stage's own error is raised."""
        from litelvlm.pipeline.heartbeat import Heartbeat

        try:
            with Heartbeat(self.say, num_actors=self.config.cluster.num_actors[0]) as heart:
                for marker in execution.run(todo):
                    heart.beat()
                    if self._count(marker):
                        self._log.add(marker.shard_id, marker.to_json())
                        self.committed(marker)
        except NodeError as error:
            self._leave_out(error)
            return str(error)
        except Exception as error:
            if not is_cluster_failure(error):
                raise
            return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        finally:
            self._log.flush()
        return None

    def _leave_out(self, error: NodeError) -> None:
        """Go on without a node. Raises the error where no other is left."""
        from litelvlm.pipeline.preflight import without

        assert self.footing is not None, "an execution has a footing"
        footing = without(self.footing, error.node_id)
        if footing is None:
            raise error
        self.footing = footing

    def _execution(self) -> Any:
        from litelvlm.pipeline.cluster import max_decoders, quiet_data_context
        from litelvlm.pipeline.stages.execute import Execution

        quiet_data_context()
        assert self.footing is not None, "there was nothing to execute before the claim"
        return Execution(
            config=self.config,
            mapping=self.plan.mapping,
            job=self,
            storage=self.storage,
            engine=self.engine.on_device(self.footing.device),
            policy=self.policy,
            footing=self.footing,
            max_decoders=max_decoders(self.config.cluster),
            bytes_reread=self.plan.bytes_reread,
            bytes_a_shard=self.plan.bytes_a_shard,
        )

    def _left(self) -> list[Shard]:
        """Shards without a marker, as far as the listing and this session know; markers new to it are counted."""
        unknown = [shard for shard in self.plan.shards if shard.shard_id not in self._done]
        listed = done_shards(self.storage)
        found = [shard.shard_id for shard in unknown if shard.shard_id in listed]
        for marker in find_markers(self.storage, found, self.marker):
            if marker is not None:
                self._count(marker)
        return [shard for shard in unknown if shard.shard_id not in self._done]

    def _count(self, marker: M) -> bool:
        """Count a shard, once. Returns whether it is new."""
        if marker.shard_id in self._done:
            return False
        self._done.add(marker.shard_id)
        self.count(marker)
        return True
