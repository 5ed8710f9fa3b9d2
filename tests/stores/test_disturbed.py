"""The same stores behind a proxy that breaks what passes: one policy of retries and one reading of errors for all."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from litelvlm.pipeline.errors import AccessDeniedError, CredentialsError, StorageError
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.run import annotate_dataset
from litelvlm.pipeline.storage.retries import RetryPolicy
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeEngine
from tests.faults.fault_rules import Fault, Rule, method_is, random_rules
from tests.faults.proxy import fault_proxy
from tests.object_store import ObjectStore
from tests.pipeline.samples import mixed_rows, read_records, run_config, write_table
from tests.stores.servers import CONDITIONS, Kind

pytestmark = pytest.mark.stores

PATIENT, HASTY = RetryPolicy(seconds=4.0), RetryPolicy(seconds=0.1)
CONTENT = bytes(range(256)) * 400
PASSING = (Fault.ERROR_500, Fault.SLOW_DOWN, Fault.TOO_MANY, Fault.RESET, Fault.DROP, Fault.STALL)


def stream_out(storage: Storage) -> bool:
    with storage.open_write("a/new") as stream:
        stream.write(CONTENT)
    return True


def stream_in(storage: Storage) -> bool:
    with storage.open_read("a/one") as stream:
        return stream.read() == CONTENT


#: Operation -> what it does, which is false where it came out wrong.
OPERATIONS: dict[str, Callable[[Storage], object]] = {
    "read": lambda storage: storage.read_bytes("a/one") == CONTENT,
    "read in ranges": stream_in,
    "exists": lambda storage: (storage.exists("a/one"), storage.exists("a/none")) == (True, False),
    "list": lambda storage: storage.list("a") == ["a/one"],
    "write": lambda storage: storage.write_bytes("a/new", CONTENT),
    "create": lambda storage: storage.create_exclusive("a/new", CONTENT),
    "stream": stream_out,
    "delete": lambda storage: storage.delete(["a/one", "a/none"]),
}


@pytest.fixture
def hurried(store: ObjectStore, place: str) -> ObjectStore:
    """The store with an object in `place`, reached by a client that waits half a second for bytes."""
    Storage(place, store.options).write_bytes("a/one", CONTENT)
    return replace(store, read_timeout_s=0.5)


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_outlives_every_fault(hurried: ObjectStore, place: str, operation: str, fault: Fault) -> None:
    with fault_proxy(hurried, [Rule(fault=fault, last=2)]) as proxy:
        assert OPERATIONS[operation](Storage(place, proxy.store.options, retry=PATIENT)) is not False
        assert proxy.num_injected >= 1
    expected = {"write": "a/new", "create": "a/new", "stream": "a/new"}.get(operation, "a/one")
    direct = Storage(place, hurried.options)
    assert not direct.exists("a/one") if operation == "delete" else direct.read_bytes(expected) == CONTENT


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_store_that_stays_down_is_asked_as_often_as_the_policy_says(
    hurried: ObjectStore, place: str, operation: str
) -> None:
    with fault_proxy(hurried, [Rule(fault=Fault.SLOW_DOWN)]) as proxy:
        with pytest.raises(StorageError, match=r"SlowDown|503|ServerBusy|backendError"):
            OPERATIONS[operation](Storage(place, proxy.store.options, retry=HASTY))
        assert 3 <= max(proxy.requests.values()) <= HASTY.tries


@pytest.mark.parametrize("operation", OPERATIONS)
def test_expired_credentials_are_told_at_once(hurried: ObjectStore, place: str, operation: str) -> None:
    with fault_proxy(hurried, [Rule(fault=Fault.EXPIRED_403)]) as proxy:
        with pytest.raises(CredentialsError, match=r"ExpiredToken|AuthenticationFailed|authError"):
            OPERATIONS[operation](Storage(place, proxy.store.options, retry=PATIENT))
        assert max(proxy.requests.values()) <= 2


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_not_allowed_stops_at_once(hurried: ObjectStore, place: str, operation: str) -> None:
    with fault_proxy(hurried, [Rule(fault=Fault.DENIED)]) as proxy:
        with pytest.raises(AccessDeniedError, match="permission denied"):
            OPERATIONS[operation](Storage(place, proxy.store.options, retry=PATIENT))
        assert max(proxy.requests.values()) <= 2


@pytest.mark.parametrize("lost", [1, 2])
def test_an_object_whose_answer_was_lost_is_this_calls(kind: Kind, hurried: ObjectStore, place: str, lost: int) -> None:
    kind.skip_without(CONDITIONS)
    rules = [Rule(fault=Fault.LOST_ANSWER, when=method_is("PUT", "POST"), last=lost)]
    with fault_proxy(hurried, rules) as proxy:
        storage = Storage(place, proxy.store.options, retry=PATIENT)
        assert storage.create_exclusive("m/x", b"mine")
        assert proxy.injected[Fault.LOST_ANSWER] >= 1
        assert not storage.create_exclusive("m/x", b"theirs")
    assert Storage(place, hurried.options).read_bytes("m/x") == b"mine"


@pytest.mark.usefixtures("local_ray")
def test_a_run_over_a_disturbed_store_loses_nothing(store: ObjectStore, place: str, tmp_path: Path) -> None:
    rows = mixed_rows(30)
    source = write_table(tmp_path / "in.parquet", rows)
    Storage(f"{place}/in", store.options).write_bytes("part.parquet", Path(source).read_bytes())
    faults = (Fault.ERROR_500, Fault.SLOW_DOWN, Fault.TOO_MANY, Fault.RESET, Fault.DROP)
    with fault_proxy(store, random_rules(0.03, *faults), seed=1) as proxy:
        config = run_config(f"{place}/in/*.parquet", f"{place}/out", storage_options=proxy.store.options)
        assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
        assert proxy.num_injected > 0
    out = Storage(f"{place}/out", store.options)
    (tmp_path / "records").mkdir()
    for name in out.list("records"):
        (tmp_path / name).write_bytes(out.read_bytes(name))
    assert len(read_records(tmp_path)) == sum(len(row["phrases"]) for row in rows)
