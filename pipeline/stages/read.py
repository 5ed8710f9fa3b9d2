"""Reading row groups of embedded images once for all of their shards. Runs in tasks that hold next to no CPU.

Parquet is read from the start of a row group on, so shards that each read their own rows would read most of it again
and again. Here one task reads it, a shard's rows at a time, as fast as they are taken.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

import pyarrow as pa

from litelvlm.pipeline.shards.attempts import Guard
from litelvlm.pipeline.shards.payload import RowsRead, ShardTask, pack, unpack
from litelvlm.pipeline.shards.read import read_shards
from litelvlm.pipeline.stages.decode import DecodeStage


def by_row_group(tasks: Sequence[ShardTask]) -> list[list[ShardTask]]:
    """Tasks of the same row group together; shards are in the order of the input."""
    return [list(group) for _, group in groupby(tasks, lambda task: (task.shard.file, task.shard.row_group))]


@dataclass(frozen=True, kw_only=True)
class ReadStage:
    """For `map_batches(batch_size=1)`: the tasks of a row group in, each with its rows out, in a block of its own.

    A shortcut only. Where it fails or once killed its worker, tasks go on without their rows, and `decode`, which
    knows what to do about either, reads them.
    """

    decode: DecodeStage

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for task in self._read(unpack(batch)):
            yield pack(task)

    def _read(self, tasks: list[ShardTask]) -> Iterator[ShardTask]:
        done = 0
        try:
            if len(tasks) > 1 and not self._has_killed(tasks):
                for task in self._with_rows(tasks):
                    done += 1
                    yield task
        except Exception:  # noqa: BLE001 - decoding meets it again and says so
            pass
        yield from tasks[done:]

    def _has_killed(self, tasks: list[ShardTask]) -> bool:
        decode, first = self.decode, tasks[0]
        guard = Guard(storage=decode.storage, session=decode.session, stage="read", shard_id=first.shard.shard_id)
        return guard.begin() > 0 or "read" in first.prior_kills

    def _with_rows(self, tasks: list[ShardTask]) -> Iterator[ShardTask]:
        decode = self.decode
        rows = read_shards(
            [task.shard for task in tasks],
            decode.mapping_for(tasks),
            decode.storage_options,
            sample=decode.sample,
            retry=decode.storage.retry,
        )
        for task in tasks:
            started = time.perf_counter()
            mine = list(islice(rows, task.shard.num_rows))
            yield replace(task, read=RowsRead(rows=mine, seconds=time.perf_counter() - started))
