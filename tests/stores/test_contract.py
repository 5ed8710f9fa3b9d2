"""What the pipeline asks of a store, from servers of several makers, without faults."""

from __future__ import annotations

import io
import random
import threading
from pathlib import Path

import pytest

from litelvlm.pipeline.errors import AccessDeniedError, CredentialsError
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.run import annotate_dataset
from litelvlm.pipeline.storage import store as store_module
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeEngine
from tests.object_store import ObjectStore
from tests.pipeline.samples import final_bytes, mixed_rows, run_config, write_table
from tests.stores.servers import CONDITIONS, EMPTY_RANGES, KEYS, PERCENTS, Kind

pytestmark = pytest.mark.stores

WRITERS = 8
COCO = "annotations/part-00000.json"
LARGE = random.Random(0).randbytes(11 << 20)


@pytest.fixture
def storage(store: ObjectStore, place: str) -> Storage:
    return Storage(place, store.options)


def test_objects_are_written_read_listed_and_deleted(storage: Storage) -> None:
    storage.check_writable()
    storage.write_bytes("a/one", b"0")
    storage.write_bytes("a/one", b"1")
    storage.write_bytes("a/deep/er", b"2")
    storage.write_bytes("ab", b"no child of a")
    assert storage.list("a") == ["a/deep/er", "a/one"]
    assert storage.list("") == ["a/deep/er", "a/one", "ab"]
    assert storage.list("none") == []
    assert [storage.read_bytes(name) for name in ("a/one", "a/deep/er")] == [b"1", b"2"]
    assert [storage.exists(name) for name in ("a/one", "a/deep/er", "a/none", "a")] == [True, True, False, False]
    storage.delete(["a/one", "a/none"])
    assert storage.list("a") == ["a/deep/er"]
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("a/one")
    with pytest.raises(FileNotFoundError):
        storage.open_read("a/one")


def test_an_empty_object_is_there_and_empty(kind: Kind, storage: Storage) -> None:
    kind.skip_without(EMPTY_RANGES)
    storage.write_bytes("empty", b"")
    assert storage.exists("empty")
    assert storage.read_bytes("empty") == b""
    with storage.open_read("empty") as stream:
        assert stream.read() == b""


@pytest.mark.parametrize("names", [["x/a b.json", "x/é+c.json"], ["x/a%20b.json"]], ids=["spaces", "percents"])
def test_names_that_a_url_must_spell_otherwise(kind: Kind, storage: Storage, names: list[str]) -> None:
    if "%" in names[0]:
        kind.skip_without(PERCENTS)
    for name in names:
        storage.write_bytes(name, name.encode())
    assert storage.list("x") == sorted(names)
    assert [storage.read_bytes(name).decode() for name in names] == names


def test_a_large_object_is_streamed_out_and_read_in_ranges(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_PART_BYTES", 5 << 20)
    with storage.open_write("large") as stream:
        stream.write(LARGE[:1000])
        assert not storage.exists("large")
        stream.write(LARGE[1000:])
    with storage.open_read("large") as stream:
        for start, length in ((0, 10), (len(LARGE) - 7, 7), ((4 << 20) - 3, 9), (9_000_000, 1_000_000)):
            stream.seek(start)
            assert stream.read(length) == LARGE[start : start + length]
        stream.seek(0)
        assert stream.read() == LARGE
        stream.check_unchanged()  # type: ignore[attr-defined]
    assert storage.read_bytes("large") == LARGE


def test_a_stream_that_is_left_by_an_error_leaves_nothing(storage: Storage) -> None:
    def fail_half_way() -> None:
        with storage.open_write("a/x") as stream:
            stream.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert storage.list("a") == []


def test_what_is_there_is_not_created_again(storage: Storage) -> None:
    assert storage.create_exclusive("m/x", b"first")
    assert not storage.create_exclusive("m/x", b"second")
    assert storage.create_exclusive("m/x", b"first"), "an answer that was lost: the content is this call's"
    assert storage.read_bytes("m/x") == b"first"


@pytest.mark.parametrize("turn", range(3))
def test_one_of_many_racing_writers_wins(kind: Kind, store: ObjectStore, place: str, turn: int) -> None:
    kind.skip_without(CONDITIONS)
    start, outcomes = threading.Barrier(WRITERS), []

    def race(number: int) -> None:
        writer = Storage(place, store.options)
        start.wait()
        outcomes.append((writer.create_exclusive("m/x", b"%d" % number), number))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for won, number in outcomes if won]
    assert (len(outcomes), len(winners)) == (WRITERS, 1)
    assert Storage(place, store.options).read_bytes("m/x") == b"%d" % winners[0]


def test_keys_that_the_store_refuses_are_told_as_such(kind: Kind, store: ObjectStore, place: str) -> None:
    kind.skip_without(KEYS)
    stranger = type(store)(endpoint_url=store.endpoint_url, access_key="c3RyYW5nZXI=")
    with pytest.raises((CredentialsError, AccessDeniedError)):  # Azurite says AuthorizationFailure, as for a right
        Storage(place, stranger.options).read_bytes("a/one")


@pytest.mark.usefixtures("local_ray")
def test_a_run_from_bucket_to_bucket_equals_one_on_disk(
    store: ObjectStore, place: str, tmp_path: Path, on_disk: tuple[Path, Path]
) -> None:
    """Records name what was read; so all is equal to a run from the bucket to a disk, masks to one that read a disk."""
    source, output = on_disk
    Storage(f"{place}/in", store.options).write_bytes("part.parquet", source.read_bytes())
    config = run_config(f"{place}/in/*.parquet", f"{place}/out", storage_options=store.options)
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    to_disk = run_config(f"{place}/in/*.parquet", tmp_path / "out", storage_options=store.options)
    assert annotate_dataset(to_disk, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    found = final_bytes(downloaded(Storage(f"{place}/out", store.options), tmp_path / "copy"))
    assert found == final_bytes(tmp_path / "out")
    assert found[COCO] == final_bytes(output)[COCO]
    stream = io.StringIO()
    assert annotate_dataset(config, engine=FakeEngine(), stream=stream) == EXIT_DONE
    assert "nothing to do" in stream.getvalue()


def downloaded(storage: Storage, folder: Path) -> Path:
    """The folder, with every object of the storage in it."""
    for name in storage.list(""):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(storage.read_bytes(name))
    return folder


@pytest.fixture(scope="session")
def on_disk(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> tuple[Path, Path]:
    """A table and the output of a run over it on this machine's disk."""
    root = tmp_path_factory.mktemp("disk")
    source = write_table(root / "in" / "part.parquet", mixed_rows(30))
    config = run_config(source, root / "out")
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    return Path(source), root / "out"
