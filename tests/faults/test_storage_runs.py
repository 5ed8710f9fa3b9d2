"""Whole runs from bucket to bucket over a store that fails: the records and bytes of an undisturbed run."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.run import annotate_dataset
from litelvlm.pipeline.storage.retries import RETRY_SECONDS_VARIABLE
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeEngine
from tests.faults.fault_rules import Fault, Rule, method_is, path_matches, random_rules
from tests.faults.harness import compare
from tests.faults.proxy import FaultProxy, fault_proxy
from tests.faults.table import FaultTable
from tests.object_store import ObjectStore, object_store
from tests.pipeline.samples import mixed_rows, read_records, run_config, write_table

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("local_ray")]

NUM_ROWS = 40
OLD_KEY = "AKIAEXPIRING"
SEEDS = [pytest.param(seed, marks=pytest.mark.core if seed < 1 else ()) for seed in range(5)]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A store with input tables, and what undisturbed runs over them gave, by the table's name."""

    store: ObjectStore
    directory: Path
    whole: dict[str, Path]

    def run(self, store: ObjectStore, output: str, *, table: str = "rows") -> float:
        """Run to the end through a store. Returns the seconds it took."""
        started = time.monotonic()
        config = self.config(store, output, table=table)
        assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
        return time.monotonic() - started

    def config(self, store: ObjectStore, output: str, *, table: str = "rows") -> Any:
        settings = {"shard_images": 4, "storage_options": store.options}
        return run_config(f"s3://bucket/{table}/*.parquet", f"s3://bucket/{output}", **settings)

    def fetch(self, output: str) -> Path:
        """The output on this disk."""
        target = self.directory / output
        self.store.filesystem().get(f"bucket/{output}", str(target), recursive=True)
        return target

    def check(
        self, table: FaultTable, output: str, *, fault: str, proxy: FaultProxy, resumed_s: float, of: str = "rows"
    ) -> None:
        """Compare an output with that of the undisturbed run."""
        found = self.fetch(output)
        compare(table, self.whole[of], found, fault=fault, injected=proxy.num_injected, resumed_s=resumed_s)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("bench")
    rows = mixed_rows(NUM_ROWS)
    with object_store() as store:
        fs = store.filesystem()
        fs.mkdir("bucket")
        fs.put(write_table(directory / "in.parquet", rows), "bucket/rows/part.parquet")
        for number, row in enumerate(rows):
            fs.pipe_file(f"bucket/images/{number}.png", row["image"])
        uris = [f"s3://bucket/images/{number}.png" for number in range(NUM_ROWS + 1)]  # the last one is not there
        phrases = [*(row["phrases"][0] for row in rows), "a dog"]
        pq.write_table(pa.table({"image_url": uris, "phrase": phrases}), directory / "uris.parquet")
        fs.put(str(directory / "uris.parquet"), "bucket/uris/part.parquet")
        made = Bench(store=store, directory=directory, whole={})
        for table in ("rows", "uris"):
            made.run(store, f"whole-{table}", table=table)
            made.whole[table] = made.fetch(f"whole-{table}")
        yield made


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RETRY_SECONDS_VARIABLE, "10")


def hasty_client(proxy: FaultProxy, **changes: Any) -> ObjectStore:
    """A client of the proxy that soon takes silence for a fault."""
    return replace(proxy.store, read_timeout_s=1.5, **changes)


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_of_every_kind_at_random(bench: Bench, fault_table: Any, seed: Any) -> None:
    with fault_proxy(bench.store, random_rules(0.02), seed=seed) as proxy:
        seconds = bench.run(hasty_client(proxy), f"random-{seed}")
        assert len(proxy.injected) >= 3
        bench.check(fault_table, f"random-{seed}", fault="storage faults at random", proxy=proxy, resumed_s=seconds)


@pytest.mark.parametrize("seed", range(2))
def test_images_by_uri_over_a_failing_store(bench: Bench, fault_table: Any, seed: Any) -> None:
    with fault_proxy(bench.store, random_rules(0.03), seed=100 + seed) as proxy:
        seconds = bench.run(hasty_client(proxy), f"uris-{seed}", table="uris")
        fault = "storage faults at random, images by URI"
        bench.check(fault_table, f"uris-{seed}", fault=fault, proxy=proxy, resumed_s=seconds, of="uris")
    errors = [record["error"] for record in read_records(bench.directory / f"uris-{seed}") if record["error"]]
    assert sum(error.startswith("not_found") for error in errors) == 1
    assert not any(error.startswith(("unavailable", "forbidden")) for error in errors)


def test_every_put_is_answered_to_nobody(bench: Bench, fault_table: Any) -> None:
    """The first answer to each object is lost; nothing is done twice, nobody is taken for dead."""
    seen: set[str] = set()

    def first_time(request: Any) -> bool:
        new = request.method == "PUT" and request.path not in seen
        seen.add(request.path)
        return new

    with fault_proxy(bench.store, [Rule(fault=Fault.LOST_ANSWER, when=first_time)]) as proxy:
        seconds = bench.run(hasty_client(proxy), "lost")
        assert proxy.injected[Fault.LOST_ANSWER] > 3 * NUM_ROWS / 4
        bench.check(fault_table, "lost", fault="answers to PUT lost", proxy=proxy, resumed_s=seconds)
    attempts = [path for path in seen if "/_attempts/" in path]
    assert attempts
    assert all(path.endswith(".1") for path in attempts)


@pytest.mark.parametrize("lag_s", [3600.0, 3.0])
def test_listings_that_lag(bench: Bench, fault_table: Any, lag_s: float) -> None:
    output = f"stale-{lag_s:.0f}"
    rule = Rule(fault=Fault.STALE_LISTING, when=lambda request: request.path.startswith("bucket"))
    with fault_proxy(bench.store, [rule], listing_lag_s=lag_s) as proxy:
        seconds = bench.run(hasty_client(proxy), output)
        found = bench.fetch(output)
        for path in found.glob("_attempts/**/*.*"):  # what no listing showed could not be swept
            path.unlink()
        whole = bench.whole["rows"]
        injected = proxy.injected[Fault.STALE_LISTING]
        assert injected >= 1
        compare(fault_table, whole, found, fault="listings that lag", injected=injected, resumed_s=seconds)


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        (Fault.EXPIRED_403, 40),
        (Fault.EXPIRED_400, 90),
        (Fault.EXPIRED_403, 140),
        (Fault.EXPIRED_400, 180),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_credentials_that_expire_half_way(bench: Bench, fault_table: Any, fault: Any, first: int) -> None:
    output = f"expired-{first}"
    rule = Rule(fault=fault, first=first, when=lambda request: request.access_key == OLD_KEY)
    with fault_proxy(bench.store, [rule]) as proxy:
        with pytest.raises(StorageError, match="fresh ones, it resumes"):
            bench.run(hasty_client(proxy, access_key=OLD_KEY), output)
        committed = markers(bench, output)
        seconds = bench.run(hasty_client(proxy), output)
        assert committed.items() <= markers(bench, output).items()
        bench.check(fault_table, output, fault="credentials expire, then fresh ones", proxy=proxy, resumed_s=seconds)


def markers(bench: Bench, output: str) -> dict[str, bytes]:
    """Markers of an output, and their content."""
    storage = Storage(f"s3://bucket/{output}", bench.store.options)
    return {name: storage.read_bytes(name) for name in storage.list("_done")}


def test_a_resumed_run_does_not_repeat_what_a_lagging_listing_hides(bench: Bench, fault_table: Any) -> None:
    expired = Rule(fault=Fault.EXPIRED_403, first=160, when=lambda request: request.access_key == OLD_KEY)
    with fault_proxy(bench.store, [expired], listing_lag_s=3600.0) as proxy:
        with pytest.raises(StorageError, match="fresh ones"):
            bench.run(hasty_client(proxy, access_key=OLD_KEY), "hidden")
        committed = markers(bench, "hidden")
        assert committed
        puts = dict(proxy.requests)
        proxy.rules = [Rule(fault=Fault.STALE_LISTING)]
        seconds = bench.run(hasty_client(proxy), "hidden")
        assert committed.items() <= markers(bench, "hidden").items()
        again = [name for name in proxy.requests if name.startswith("PUT bucket/hidden/_attempts")]
        done = [name.removeprefix("_done/").removesuffix(".json") for name in committed]
        assert all(proxy.requests[name] == puts.get(name) for name in again if any(shard in name for shard in done))
        found = bench.fetch("hidden")
        for path in found.glob("_attempts/**/*.*"):
            path.unlink()
        injected = proxy.num_injected
        compare(
            fault_table, bench.whole["rows"], found, fault="listings that lag", injected=injected, resumed_s=seconds
        )


@pytest.mark.parametrize("fault", [Fault.NO_CONDITIONS_501, Fault.IGNORED_CONDITION], ids=lambda fault: fault.name)
def test_a_store_without_conditional_writes(bench: Bench, fault_table: Any, fault: Any) -> None:
    output = f"plain-{fault.name.lower()}"
    with fault_proxy(bench.store, [Rule(fault=fault)]) as proxy:
        seconds = bench.run(hasty_client(proxy), output)
        bench.check(fault_table, output, fault="no conditional writes", proxy=proxy, resumed_s=seconds)


def test_an_image_that_is_withheld_fails_alone(bench: Bench) -> None:
    denied = Rule(fault=Fault.DENIED, when=path_matches(r"images/2\.png$"))
    with fault_proxy(bench.store, [denied]) as proxy:
        bench.run(hasty_client(proxy), "denied", table="uris")
    found, expected = read_records(bench.fetch("denied")), read_records(bench.whole["uris"])
    assert found[2]["error"].startswith("forbidden: s3://bucket/images/2.png")
    assert [*found[:2], *found[3:]] == [*expected[:2], *expected[3:]]


def test_a_finished_run_is_left_alone_over_a_failing_store(bench: Bench) -> None:
    rules = [*random_rules(0.2, Fault.SLOW_DOWN, Fault.DROP), Rule(fault=Fault.DENIED, when=method_is("PUT", "DELETE"))]
    with fault_proxy(bench.store, rules) as proxy:
        stream = io.StringIO()
        config = bench.config(hasty_client(proxy), "whole-rows")
        assert annotate_dataset(config, engine=FakeEngine(), stream=stream) == EXIT_DONE
        assert "nothing to do" in stream.getvalue()
