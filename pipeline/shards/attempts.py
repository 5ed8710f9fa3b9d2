"""Finding the record that kills its worker: attempts are counted before the work, and bad shards are bisected.

A worker that dies (segfault, out of memory) leaves no exception behind, only an attempt without an end. Every attempt
is an object `_attempts/<shard>/<stage>/<scope>/<session>.<n>`, created before the work begins. Within a session,
attempt n exists because attempts 1 to n-1 died. The last attempt of an earlier session may have died with its driver,
so it proves nothing.

After `MAX_KILLS` deaths the shard is processed in halves, each counted the same way, until single images remain. An
image that kills its worker alone is given up; all others are processed. Halves keep to the boundaries of the model's
batches as long as they can, so that the other images see the batches they would have seen. A worker with several calls
gives each part the device for itself, or one shard's poison would be held against another's images.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from litelvlm.pipeline.schemas import ATTEMPTS_DIR
from litelvlm.pipeline.storage.store import Storage

T = TypeVar("T")

MAX_KILLS = 3
_MAX_KILLS_OF_PART = 1
_MAX_KILLS_TO_BE_SURE = 2  # before a batch is broken up, and before a single unit is given up
_WHOLE = "all"
_SURVIVED = "ok"


def new_session() -> str:
    """Name of one execution of the pipeline."""
    return uuid.uuid4().hex[:12]


@dataclass(kw_only=True)
class Guard:
    """Counts the attempts of one stage on one shard.

    `prior_kills` are deaths in earlier sessions, as `prior_kills` counts them. `attempts` is how often this session has
    begun on the shard, once `run` has. `alone` is held while a part is tried: no other call of the worker may be where
    it could die.
    """

    storage: Storage
    session: str
    stage: str
    shard_id: str
    prior_kills: int = 0
    attempts: int = 0
    alone: Callable[[], AbstractContextManager[Any]] = nullcontext

    def begin(self) -> int:
        """Note an attempt of this session on the whole. Returns how many came before it, all of them deaths."""
        return self._begin(_WHOLE)

    def run(self, num_units: int, process: Callable[[range], T], *, batch: int = 1) -> Iterator[tuple[range, T | None]]:
        """Process units 0 to `num_units` in order. Yields ranges with results, None for a unit that kills workers."""
        begun_before = self._begin(_WHOLE)
        self.attempts = begun_before + 1
        if self.prior_kills + begun_before < MAX_KILLS:
            yield range(num_units), process(range(num_units))
        else:
            yield from self._bisect(range(num_units), process, batch)

    def _bisect(self, units: range, process: Callable[[range], T], batch: int) -> Iterator[tuple[range, T | None]]:
        if len(units) <= 1:
            yield units, None
            return
        for part in _halves(units, batch):
            scope = f"{part.start}-{part.stop}"
            allowed = _MAX_KILLS_TO_BE_SURE if len(part) in (1, batch) else _MAX_KILLS_OF_PART
            if self._kills(scope) >= allowed:
                yield from self._bisect(part, process, batch)
                continue
            with self.alone():
                number = self._begin(scope) + 1
                result = process(part)
                self.storage.create_exclusive(f"{self._name(scope, number)}.{_SURVIVED}", _unique())
            yield part, result

    def _begin(self, scope: str) -> int:
        """Note an attempt of this session. Returns how many came before it."""
        number = 1
        while not self.storage.create_exclusive(self._name(scope, number), _unique()):
            number += 1
        return number - 1

    def _kills(self, scope: str) -> int:
        """Attempts on a part that ended in a death, in all sessions."""
        names = self.storage.list(f"{ATTEMPTS_DIR}/{self.shard_id}/{self.stage}/{scope}")
        kills = self._kills_of_this_session(scope)
        for session, attempts in _by_session(names).items():
            if session != self.session:
                died = len(attempts) - sum(attempts.values())
                kills += died - (not attempts[max(attempts)])
        return kills

    def _kills_of_this_session(self, scope: str) -> int:
        """By name: were a listing to lag behind the last death, the same part would be tried, and kill, on and on."""
        number = died = 0
        while self.storage.exists(name := self._name(scope, number + 1)):
            number += 1
            died += not self.storage.exists(f"{name}.{_SURVIVED}")
        return died

    def _name(self, scope: str, number: int) -> str:
        return f"{ATTEMPTS_DIR}/{self.shard_id}/{self.stage}/{scope}/{self.session}.{number}"


def _unique() -> bytes:
    """Content of an attempt. It is told from others by it when the store's answer is lost: that is nobody's death."""
    return uuid.uuid4().hex.encode()


def prior_kills(storage: Storage) -> dict[str, dict[str, int]]:
    """Deaths on whole shards in earlier sessions: shard id -> stage -> number. One listing for the run."""
    scopes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in storage.list(ATTEMPTS_DIR):
        parts = name.split("/")
        if len(parts) == 5 and parts[3] == _WHOLE:
            scopes[parts[1], parts[2]].append(name)
    kills: dict[str, dict[str, int]] = defaultdict(dict)
    for (shard_id, stage), names in scopes.items():
        died = sum(len(attempts) - 1 for attempts in _by_session(names).values())
        if died:
            kills[shard_id][stage] = died
    return dict(kills)


def _by_session(names: Iterable[str]) -> dict[str, dict[int, bool]]:
    """Session -> attempt number -> whether it survived."""
    sessions: dict[str, dict[int, bool]] = defaultdict(dict)
    for name in names:
        session, *rest = name.rsplit("/", 1)[1].split(".")
        if not rest or not rest[0].isdigit() or rest[1:] not in ([], [_SURVIVED]):
            continue  # a temporary name
        number = int(rest[0])
        sessions[session][number] = sessions[session].get(number, False) or rest[1:] == [_SURVIVED]
    return dict(sessions)


def _halves(units: range, batch: int) -> tuple[range, range]:
    middle = units.start + len(units) // 2
    if len(units) > batch:
        aligned = units.start + max(batch, len(units) // 2 // batch * batch)
        middle = min(aligned, units.stop - 1)
    return range(units.start, middle), range(middle, units.stop)
