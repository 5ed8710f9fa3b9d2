"""Input tables and images in a store that fails: nothing is left out, and nothing is taken for corrupt."""

from __future__ import annotations

import io
import pickle
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.errors import CredentialsError, StorageError
from litelvlm.pipeline.fetch.fetcher import ImageFetcher
from litelvlm.pipeline.fetch.policy import FetchError, UriPolicy
from litelvlm.pipeline.schemas import marker_name
from litelvlm.pipeline.shards.claim import clear_output
from litelvlm.pipeline.shards.manifest import RunPlan, Shard, make_plan
from litelvlm.pipeline.shards.read import read_shard
from litelvlm.pipeline.storage.range_file import ChangedError
from litelvlm.pipeline.storage.retries import RETRY_SECONDS_VARIABLE, RetryPolicy
from litelvlm.pipeline.storage.store import Storage
from litelvlm.pipeline.table.columns import ColumnMapping
from litelvlm.pipeline.table.footers import list_files, read_footers
from tests.faults.conftest import CONTENT, HASTY, PATIENT
from tests.faults.fault_rules import PASSING, Fault, Rule, path_matches, random_rules
from tests.faults.proxy import FaultProxy, fault_proxy
from tests.object_store import ObjectStore
from tests.pipeline.samples import mixed_rows, run_config

pytestmark = pytest.mark.faults


def parquet_bytes(num_rows: int) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(mixed_rows(num_rows)), buffer, row_group_size=40)
    return buffer.getvalue()


@pytest.fixture
def table(store: Any, place: Any) -> str:
    """A Parquet file in the store."""
    Storage(place, store.options).write_bytes("in/part.parquet", parquet_bytes(40))
    return f"{place}/in/part.parquet"


def plan_of(table: str, store: ObjectStore) -> RunPlan:
    return make_plan(run_config(table, "/nowhere", shard_images=64, storage_options=store.options), revision="r")


def planned(table: str, store: ObjectStore) -> tuple[Shard, ColumnMapping]:
    plan = plan_of(table, store)
    return plan.shards[0], plan.mapping


@pytest.mark.parametrize("fault", [f for f in PASSING if f is not Fault.LOST_ANSWER], ids=lambda fault: fault.name)
def test_rows_are_read_through_faults(store: Any, table: str, fault: Any) -> None:
    shard, mapping = planned(table, store)
    expected = list(read_shard(shard, mapping, store.options, sample=None))
    with fault_proxy(store, [Rule(fault=fault, first=2, last=4)]) as proxy:
        assert list(read_shard(shard, mapping, proxy.store.options, sample=None, retry=PATIENT)) == expected
        assert proxy.num_injected >= 2
    assert [row.error for row in expected] == [None] * 40


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault.RESET, StorageError), (Fault.EXPIRED_403, CredentialsError), (Fault.DENIED, StorageError)],
)
@pytest.mark.parametrize("first", [1, 2])
def test_a_broken_store_is_never_corrupt_data(store: Any, table: str, fault: Any, error: Any, first: int) -> None:
    shard, mapping = planned(table, store)
    with fault_proxy(store, [Rule(fault=fault, first=first)]) as proxy, pytest.raises(error):
        list(read_shard(shard, mapping, proxy.store.options, sample=None, retry=HASTY))


def test_corrupt_data_is_never_a_broken_store(store: Any, place: Any, table: str) -> None:
    shard, mapping = planned(table, store)
    data = bytearray(Storage(place, store.options).read_bytes("in/part.parquet"))
    data[200:4000] = b"\xff" * 3800
    Storage(place, store.options).write_bytes("in/part.parquet", bytes(data))
    rows = list(read_shard(shard, mapping, store.options, sample=None, retry=HASTY))
    assert len(rows) == 40
    assert "corrupt Parquet data" in rows[-1].error


@pytest.mark.parametrize("change", ["rewritten", "gone", "no table any more"])
def test_a_file_that_changed_since_it_was_planned_stops_the_run(
    store: Any, place: Any, table: str, change: str
) -> None:
    shard, mapping = planned(table, store)
    direct = Storage(place, store.options)
    if change == "gone":
        direct.delete(["in/part.parquet"])
    else:
        direct.write_bytes("in/part.parquet", parquet_bytes(39) if change == "rewritten" else b"no table at all")
    with pytest.raises(ChangedError, match="has changed"):
        list(read_shard(shard, mapping, store.options, sample=None, retry=HASTY))


@pytest.mark.parametrize("source", ["in", "in/*.parquet", "in/part.parquet", "*/*.parquet"])
@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.RESET, Fault.DROP], ids=lambda fault: fault.name)
def test_no_input_file_is_left_out_for_a_fault(
    store: Any, place: Any, table: str, source: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RETRY_SECONDS_VARIABLE, "8")
    with fault_proxy(store, random_rules(0.3, fault), seed=7) as proxy:
        paths = list_files((f"{place}/{source}",), proxy.store.options, output="/nowhere")
        assert [path.removeprefix(place) for path in paths] == ["/in/part.parquet"]
        assert read_footers(paths, proxy.store.options) == read_footers(paths, store.options)


@pytest.mark.parametrize("source", ["in", "in/*.parquet", "in/part.parquet", "*/*.parquet"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault.EXPIRED_400, CredentialsError), (Fault.DENIED, StorageError), (Fault.ERROR_500, StorageError)],
)
def test_an_input_that_cannot_be_listed_is_no_empty_one(
    store: Any, place: Any, table: str, source: str, fault: Any, error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RETRY_SECONDS_VARIABLE, "0.1")
    with fault_proxy(store, [Rule(fault=fault)]) as proxy, pytest.raises(error):
        list_files((f"{place}/{source}",), proxy.store.options, output="/nowhere")


def test_one_directory_that_cannot_be_listed_is_not_passed_over(
    store: Any, place: Any, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RETRY_SECONDS_VARIABLE, "0.1")
    Storage(place, store.options).write_bytes("other/part.parquet", parquet_bytes(3))
    rule = Rule(fault=Fault.SLOW_DOWN, when=lambda request: "other" in request.query.get("prefix", [""])[0])
    with fault_proxy(store, [rule]) as proxy, pytest.raises(StorageError, match="SlowDown"):
        list_files((f"{place}/*/*.parquet",), proxy.store.options, output="/nowhere")


def test_starting_over_removes_markers_that_no_listing_shows(store: Any, place: Any, table: str) -> None:
    """Else a shard of the old run would pass for one of the new."""
    plan, direct = plan_of(table, store), Storage(place, store.options)
    names = ["config.json", *(marker_name(shard.shard_id) for shard in plan.shards)]
    with fault_proxy(store, [Rule(fault=Fault.STALE_LISTING)]) as proxy:
        lagging = Storage(place, proxy.store.options, retry=PATIENT)
        for name in names:
            lagging.write_bytes(name, b"{}")
        assert lagging.list("_done") == []
        clear_output(lagging, plan)
    assert len(names) > 1
    assert not any(direct.exists(name) for name in names)


# ---- images by URI ----


def fetcher(proxy: FaultProxy, retry: RetryPolicy = PATIENT) -> ImageFetcher:
    made = ImageFetcher(UriPolicy(manifest_is_local=True), proxy.store.options, retry=retry)
    return pickle.loads(pickle.dumps(made))


@pytest.mark.parametrize("fault", [f for f in PASSING if f is not Fault.LOST_ANSWER], ids=lambda fault: fault.name)
def test_images_are_fetched_through_faults(store: Any, place: Any, fault: Any) -> None:
    with fault_proxy(store, [Rule(fault=fault, last=3)]) as proxy:
        assert fetcher(proxy).fetch(f"{place}/a/one") == CONTENT
        assert fetcher(proxy).fetch(f"{place}/a/empty") == b""
        assert proxy.num_injected >= 3


@pytest.mark.parametrize("fault", [Fault.EXPIRED_400, Fault.EXPIRED_403], ids=lambda fault: fault.name)
def test_no_image_fails_for_the_credentials(store: Any, place: Any, fault: Any) -> None:
    with fault_proxy(store, [Rule(fault=fault)]) as proxy, pytest.raises(CredentialsError, match="ExpiredToken"):
        fetcher(proxy).fetch(f"{place}/a/one")


@pytest.mark.parametrize(("fault", "code"), [(Fault.DENIED, "forbidden"), (Fault.ERROR_500, "unavailable")])
def test_an_image_that_the_store_withholds_fails_alone(store: Any, place: Any, fault: Any, code: str) -> None:
    with fault_proxy(store, [Rule(fault=fault, when=path_matches("a/one$"))]) as proxy:
        reading = fetcher(proxy, HASTY)
        with pytest.raises(FetchError, match=code):
            reading.fetch(f"{place}/a/one")
        assert reading.fetch(f"{place}/a/two") == CONTENT
