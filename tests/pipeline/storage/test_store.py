"""Storage on a local disk and in memory; S3 is tested in `test_object_store`."""

from __future__ import annotations

import errno
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.storage.retries import RetryPolicy
from litelvlm.pipeline.storage.store import Storage


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return Storage(str(tmp_path / "out") if request.param == "local" else f"memory://{tmp_path.name}")


def test_what_is_written_is_read_listed_and_deleted(storage: Any) -> None:
    storage.write_bytes("a/one", b"1")
    storage.write_bytes("a/two", b"2")
    storage.write_bytes("a/one", b"11")
    assert storage.read_bytes("a/one") == b"11"
    assert storage.list("a") == ["a/one", "a/two"]
    assert storage.exists("a/two")
    storage.delete(["a/two", "a/three"])
    assert storage.list("a") == ["a/one"]
    assert not storage.exists("a/two")
    assert storage.list("nowhere") == []
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("a/two")


def test_the_first_of_two_exclusive_writers_wins(storage: Any) -> None:
    assert storage.create_exclusive("m/x", b"first")
    assert not storage.create_exclusive("m/x", b"second")
    assert storage.read_bytes("m/x") == b"first"


def test_one_of_many_racing_writers_wins_and_leaves_nothing_behind(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    start = threading.Barrier(16)
    outcomes = []

    def race(number: int) -> None:
        start.wait()
        outcomes.append((storage.create_exclusive("m/x", b"%d" % number), number))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for won, number in outcomes if won]
    assert len(winners) == 1
    assert storage.read_bytes("m/x") == b"%d" % winners[0]
    assert storage.list("m") == ["m/x"]


def test_it_is_picklable(storage: Any) -> None:
    storage.write_bytes("x", b"1")
    assert pickle.loads(pickle.dumps(storage)).read_bytes("x") == b"1"


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    storage = Storage("/dev/full")
    with pytest.raises(ValueError, match="not writable"):
        storage.check_writable()


def test_a_remote_stream_is_put_as_a_whole(tmp_path: Path) -> None:
    storage = Storage(f"memory://{tmp_path.name}-stream")
    stream = storage.open_write("part")
    stream.write(b"half")
    assert not storage.exists("part")
    stream.close()
    assert storage.read_bytes("part") == b"half"


def test_content_that_is_there_already_is_this_calls_own(tmp_path: Path) -> None:
    """As when an answer was lost and the client sent the request again; but only where names cannot tell it."""
    remote = Storage(f"memory://{tmp_path.name}-again")
    assert remote.create_exclusive("m/x", b"mine")
    assert remote.create_exclusive("m/x", b"mine")
    assert not remote.create_exclusive("m/x", b"theirs")


def test_a_link_whose_answer_was_lost_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def link_twice(source: str, target: str) -> None:
        real(source, target)
        raise FileExistsError(target)

    monkeypatch.setattr(os, "link", link_twice)
    storage = Storage(str(tmp_path))
    assert storage.create_exclusive("m/x", b"mine")
    assert storage.list("m") == ["m/x"]


@pytest.mark.parametrize("call", ["fsync", "link", "replace"])
def test_a_disk_that_is_full_stops_the_run_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    storage = Storage(str(tmp_path))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, call, _raising(full))
    write = storage.create_exclusive if call == "link" else storage.write_bytes
    with pytest.raises(StorageError, match="No space left"):
        write("m/x", b"1")
    assert storage.list("m") == []
    monkeypatch.undo()
    assert storage.create_exclusive("m/x", b"1")


def _raising(error: OSError) -> Any:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_the_policy_travels_with_the_storage(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path), retry=RetryPolicy(seconds=3.0))
    assert pickle.loads(pickle.dumps(storage)).retry == RetryPolicy(seconds=3.0)


def test_temporary_files_at_the_top_are_found(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write_bytes("errors.parquet", b"1")
    (tmp_path / "errors.parquet.tmp-1234").write_bytes(b"half")
    assert storage.leftovers() == ["errors.parquet.tmp-1234"]


def test_a_name_as_long_as_a_file_system_takes(tmp_path: Path) -> None:
    storage, name = Storage(str(tmp_path)), "ä" * 125 + ".jpeg"
    storage.write_bytes(name, b"1")
    assert storage.create_exclusive(f"x{name}"[:-1], b"2")
    assert storage.read_bytes(name) == b"1"
    assert len(list(tmp_path.iterdir())) == 2
