"""One execution of the Ray Data pipeline over the shards that are left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy

from litelvlm.pipeline.config import RunConfig
from litelvlm.pipeline.cpus import num_usable
from litelvlm.pipeline.fetch.policy import UriPolicy
from litelvlm.pipeline.footing import Footing
from litelvlm.pipeline.shards.attempts import new_session, prior_kills
from litelvlm.pipeline.shards.manifest import Shard
from litelvlm.pipeline.shards.markers import Marker
from litelvlm.pipeline.shards.payload import DoneShard, ShardTask, pack, unpack, unpack_payload
from litelvlm.pipeline.stages.decode import DecodeStage
from litelvlm.pipeline.stages.engine import Engine
from litelvlm.pipeline.stages.failures import Failure
from litelvlm.pipeline.stages.read import ReadStage, by_row_group
from litelvlm.pipeline.storage.store import Storage
from litelvlm.pipeline.table.columns import ColumnMapping

_CALLS_PER_ACTOR = 2
_FEED_CPUS = 0.0001  # the least there is: it waits more than it works
_READ_CPUS = 0.0002  # it waits as much, and whoever waits with CPUs would keep them from those it waits for
_WAVE = 5_000  # shards
_FEW = 200
_WORTH_A_STAGE = 256 << 20  # bytes: its processes take seconds to start
_HANDED_ON = 96 << 20  # bytes of a shard

Stage = Callable[[Any], Any]
M = TypeVar("M", bound=Marker)


class ShardJob(Protocol[M]):
    """What becomes of a run's shards: the actor that holds the model, and how its results are committed."""

    marker: type[M]

    def actor(self, engine: Any, session: str, num_threads: int) -> tuple[type, tuple[Any, ...]]:
        """The class of the stage that holds the model, and what it is made with."""
        ...

    def commit_stage(self) -> Stage: ...

    def task(self, shard: Shard, prior_kills: dict[str, int]) -> ShardTask: ...


@dataclass(frozen=True, kw_only=True)
class Execution(Generic[M]):
    """What an execution needs besides the list of shards."""

    config: RunConfig
    mapping: ColumnMapping
    job: ShardJob[M]
    storage: Storage
    engine: Engine
    policy: UriPolicy
    footing: Footing
    max_decoders: int | None = None
    bytes_reread: int = 0  # if every shard reads for itself
    bytes_a_shard: int = 0

    def run(self, shards: list[Shard]) -> Iterator[M]:
        """Do shards, in whatever order they end. Yields their markers as they are committed.

        They are done in waves, each a data set of its own: for every block Ray Data keeps some 20 kB in the driver
        until its data set ends. Actors start anew with every wave, once in hours.

        Raises:
            UsageError, StorageError, StageError: a stage broke.
            Exception: the cluster failed, see `is_cluster_failure`; what was committed stays.
        """
        kills = prior_kills(self.storage)
        for at in range(0, len(shards), _WAVE):
            wave = shards[at : at + _WAVE]
            yield from self._run_wave([self.job.task(shard, kills.get(shard.shard_id, {})) for shard in wave])

    def _run_wave(self, tasks: list[ShardTask]) -> Iterator[M]:
        session, cpus = new_session(), self.footing.cpus
        on_gpu = self.footing.device == "cuda"
        decode = self._decode_stage(session)
        dataset = self._read_once(tasks, decode) if self._reads_over(tasks) else _feed(tasks)
        dataset = dataset.map_batches(
            _call(decode),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=cpus.decode,
            concurrency=min(self.max_decoders, len(tasks)) if self.max_decoders else None,
        )
        actor, arguments = self.job.actor(self.engine, session, self._threads_per_actor())
        dataset = dataset.map_batches(
            actor,
            fn_constructor_args=arguments,
            batch_size=1,
            batch_format="pyarrow",
            compute=self._actor_pool(),
            num_cpus=cpus.actor,
            num_gpus=self.config.cluster.gpus_per_actor if on_gpu else None,
            **self.footing.actor_options,
        )
        dataset = dataset.map_batches(
            _call(self.job.commit_stage()), batch_size=1, batch_format="pyarrow", num_cpus=cpus.commit
        )
        for row in dataset.iter_rows():
            result = unpack_payload(row)
            if isinstance(result, Failure):
                result.throw()
            yield cast(M, result.marker if isinstance(result, DoneShard) else result)

    def _reads_over(self, tasks: list[ShardTask]) -> bool:
        """Whether shards would read what others read as well, so much that it is worth a stage of its own.

        What is handed on lies in memory several times: heavy shards read for themselves, a row at a time.
        """
        is_much = self.bytes_reread > _WORTH_A_STAGE and self.bytes_a_shard <= _HANDED_ON
        return is_much and len(by_row_group(tasks)) < len(tasks)

    def _read_once(self, tasks: list[ShardTask], decode: DecodeStage) -> ray.data.Dataset:
        groups = by_row_group(tasks)
        readers = min(len(groups), max(1, round(ray.cluster_resources().get("CPU", 1.0) / 2)))
        return _feed(groups).map_batches(
            _call(ReadStage(decode=decode)),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=_READ_CPUS,
            concurrency=readers,
        )

    def _decode_stage(self, session: str) -> DecodeStage:
        return DecodeStage(
            mapping=self.mapping,
            engine=self.engine,
            policy=self.policy,
            storage=self.storage,
            session=session,
            marker=self.job.marker,
            storage_options=self.config.storage_options,
            sample=self.config.source.sample,
            max_pixels=self.config.source.max_pixels,
            keep_truncated=self.config.source.truncated == "keep",
            ontology=self.config.source.ontology,
        )

    def _actor_pool(self) -> ActorPoolStrategy:
        low, high = self.config.cluster.num_actors
        return ActorPoolStrategy(
            min_size=low,
            max_size=high,
            max_tasks_in_flight_per_actor=2 * _CALLS_PER_ACTOR,
            max_concurrent_calls_per_actor=_CALLS_PER_ACTOR,
            enable_true_multi_threading=True,
        )

    def _threads_per_actor(self) -> int:
        """Threads of the model on a CPU: the machine's cores, shared among its actors."""
        return max(1, num_usable() // self.config.cluster.num_actors[1])


def _feed(items: Sequence[Any]) -> ray.data.Dataset:
    """A data set of one block for each item, made by one task as the stages take them.

    Blocks that are there when it starts cost the driver a second for every thousand, which is less than the process of
    that task takes to start where they are few.
    """
    if len(items) <= _FEW:
        rows = [row for item in items for row in pack(item).to_pylist()]
        few: ray.data.Dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
        return few
    all_items: ray.data.Dataset = ray.data.from_arrow(pack(list(items)))
    return all_items.map_batches(_one_by_one, batch_size=1, batch_format="pyarrow", num_cpus=_FEED_CPUS, concurrency=1)


def _one_by_one(batch: pa.Table) -> Iterator[pa.Table]:
    for item in unpack(batch):
        yield pack(item)


def _call(stage: Stage) -> Any:
    """Ray Data takes a function or a class, and treats other callables as classes: wrap a stage into a function."""

    def call(batch: Any) -> Any:
        return stage(batch)

    call.__name__ = type(stage).__name__
    return call
