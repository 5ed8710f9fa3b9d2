"""A store that fails: every operation under every fault, alone and in parts of the pipeline."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from litelvlm.pipeline.errors import CredentialsError, StorageError
from litelvlm.pipeline.shards.attempts import Guard
from litelvlm.pipeline.storage import store as store_module
from litelvlm.pipeline.storage.store import Storage
from tests.faults.conftest import CONTENT, HASTY, PATIENT
from tests.faults.fault_rules import PASSING, Fault, Rule, method_is, random_rules
from tests.faults.proxy import fault_proxy

pytestmark = pytest.mark.faults

WRITING = ("write", "create", "stream", "delete")


def stream_out(storage: Storage) -> None:
    with storage.open_write("a/new") as stream:
        stream.write(CONTENT)


def stream_in(storage: Storage) -> bytes:
    with storage.open_read("a/one") as stream:
        return stream.read()


#: Operation -> what it does, and what must then be true, asked without the proxy.
OPERATIONS: dict[str, tuple[Callable[[Storage], object], Callable[[object, Storage], bool]]] = {
    "read": (lambda s: s.read_bytes("a/one"), lambda got, s: got == CONTENT),
    "read in ranges": (stream_in, lambda got, s: got == CONTENT),
    "exists": (lambda s: [s.exists(n) for n in ("a/one", "a/empty", "a/x")], lambda got, s: got == [True, True, False]),
    "list": (lambda s: s.list("a"), lambda got, s: got == ["a/empty", "a/one", "a/two"]),
    "write": (lambda s: s.write_bytes("a/new", CONTENT), lambda got, s: s.read_bytes("a/new") == CONTENT),
    "create": (
        lambda s: s.create_exclusive("a/new", CONTENT),
        lambda got, s: got is True and s.read_bytes("a/new") == CONTENT,
    ),
    "stream": (stream_out, lambda got, s: s.read_bytes("a/new") == CONTENT),
    "delete": (lambda s: s.delete(["a/one", "a/none"]), lambda got, s: s.list("a") == ["a/empty", "a/two"]),
    "check": (lambda s: s.check_writable(), lambda got, s: s.list("") == ["a/empty", "a/one", "a/two"]),
}


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_outlives_every_fault(store: Any, place: Any, operation: Any, fault: Any) -> None:
    if fault is Fault.LOST_ANSWER and operation not in (*WRITING, "check"):
        rules = [Rule(fault=Fault.DROP, last=3)]  # nothing is done to be lost: a plain loss of the answer
    else:
        rules = [Rule(fault=fault, last=2)]
    act, is_right = OPERATIONS[operation]
    with fault_proxy(store, rules) as proxy:
        result = act(Storage(place, proxy.store.options, retry=PATIENT))
        assert proxy.num_injected >= 1
    assert is_right(result, Storage(place, store.options))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_store_that_stays_down_stops_after_bounded_tries(store: Any, place: Any, operation: Any) -> None:
    act, _ = OPERATIONS[operation]
    with fault_proxy(store, [Rule(fault=Fault.SLOW_DOWN)]) as proxy:
        with pytest.raises(StorageError, match=r"SlowDown|503"):  # an answer to HEAD has a status only
            act(Storage(place, proxy.store.options, retry=HASTY))
        assert 3 <= max(proxy.requests.values()) <= HASTY.tries


@pytest.mark.parametrize("fault", [Fault.EXPIRED_400, Fault.EXPIRED_403], ids=lambda fault: fault.name)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_refused_credentials_are_told_at_once(store: Any, place: Any, operation: Any, fault: Any) -> None:
    act, _ = OPERATIONS[operation]
    with fault_proxy(store, [Rule(fault=fault)]) as proxy:
        with pytest.raises(CredentialsError, match="ExpiredToken"):
            act(Storage(place, proxy.store.options, retry=PATIENT))
        assert max(proxy.requests.values()) <= 2


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_not_allowed_stops_the_run(store: Any, place: Any, operation: Any) -> None:
    act, _ = OPERATIONS[operation]
    error = ValueError if operation == "check" else StorageError
    with fault_proxy(store, [Rule(fault=Fault.DENIED)]) as proxy, pytest.raises(error, match="denied"):
        act(Storage(place, proxy.store.options, retry=PATIENT))


@pytest.mark.parametrize("seed", range(3))
def test_uploads_in_parts_are_whole_or_not_there(
    store: Any, place: Any, seed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_PART_BYTES", 5 << 20)
    content = random.Random(seed).randbytes(11 << 20)
    with fault_proxy(store, random_rules(0.06, Fault.DROP, Fault.RESET, Fault.LOST_ANSWER), seed=seed) as proxy:
        stream = Storage(place, proxy.store.options, retry=PATIENT).open_write("a/large")
        stream.write(content[:1000])
        assert not Storage(place, store.options).exists("a/large")
        stream.write(content[1000:])
        stream.close()
    assert Storage(place, store.options).read_bytes("a/large") == content


def test_a_stream_that_cannot_be_sent_leaves_nothing(store: Any, place: Any) -> None:
    with fault_proxy(store, [Rule(fault=Fault.SLOW_DOWN, when=method_is("PUT"))]) as proxy:
        failing = Storage(place, proxy.store.options, retry=HASTY)
        with pytest.raises(StorageError, match="SlowDown"):
            stream_out(failing)
    assert Storage(place, store.options).list("a") == ["a/empty", "a/one", "a/two"]


# ---- exclusive creation ----


@pytest.mark.core
@pytest.mark.parametrize("lost", [1, 2, 5])
def test_an_object_whose_answer_was_lost_is_this_calls(store: Any, place: Any, lost: int) -> None:
    with fault_proxy(store, [Rule(fault=Fault.LOST_ANSWER, when=method_is("PUT"), last=lost)]) as proxy:
        storage = Storage(place, proxy.store.options, retry=PATIENT)
        assert storage.create_exclusive("m/x", b"mine")
        assert proxy.injected[Fault.LOST_ANSWER] >= 1
        assert not storage.create_exclusive("m/x", b"theirs")
    assert Storage(place, store.options).read_bytes("m/x") == b"mine"


@pytest.mark.core
@pytest.mark.parametrize("lost", [1, 4])
def test_a_lost_answer_is_no_death_of_a_worker(store: Any, place: Any, lost: int) -> None:
    with fault_proxy(store, [Rule(fault=Fault.LOST_ANSWER, when=method_is("PUT"), last=lost)]) as proxy:
        storage = Storage(place, proxy.store.options, retry=PATIENT)
        guard = Guard(storage=storage, session="now", stage="decode", shard_id="s1")
        assert list(guard.run(5, list)) == [(range(5), [0, 1, 2, 3, 4])]
        assert proxy.injected[Fault.LOST_ANSWER] >= 1
    assert Storage(place, store.options).list("_attempts") == ["_attempts/s1/decode/all/now.1"]


@pytest.mark.parametrize(
    "fault", [Fault.NO_CONDITIONS_501, Fault.NO_CONDITIONS_400, Fault.IGNORED_CONDITION], ids=lambda fault: fault.name
)
def test_stores_without_conditional_writes(store: Any, place: Any, fault: Any) -> None:
    with fault_proxy(store, [Rule(fault=fault)]) as proxy:
        storage = Storage(place, proxy.store.options, retry=PATIENT)
        assert storage.create_exclusive("m/x", b"first")
        assert not storage.create_exclusive("m/x", b"second")
        assert proxy.num_injected == 1
    assert Storage(place, store.options).read_bytes("m/x") == b"first"


def test_without_conditions_the_last_writers_content_stays_and_the_other_sees_it(store: Any, place: Any) -> None:
    """The other writes between this one's look and its reading back."""
    other = Storage(place, store.options)

    def overtake(request: Any) -> bool:
        if request.method == "GET" and request.path.endswith("m/x") and other.exists("m/x"):
            other.write_bytes("m/x", b"theirs")
        return False

    rules = [Rule(fault=Fault.NO_CONDITIONS_501), Rule(fault=Fault.DROP, when=overtake)]
    with fault_proxy(store, rules) as proxy:
        assert not Storage(place, proxy.store.options, retry=PATIENT).create_exclusive("m/x", b"mine")
    assert other.read_bytes("m/x") == b"theirs"
