"""Storage on a local disk and in memory; S3 is tested in `test_object_store`."""

from __future__ import annotations

import pickle
import threading

import pytest

from pipeline.storage import Storage, StorageError, filesystem_for, with_retries


@pytest.fixture(params=["local", "memory"])
def storage(request, tmp_path):
    return Storage(str(tmp_path / "out") if request.param == "local" else f"memory://{tmp_path.name}")


def test_what_is_written_is_read_listed_and_deleted(storage):
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


def test_the_first_of_two_exclusive_writers_wins(storage):
    assert storage.create_exclusive("m/x", b"first")
    assert not storage.create_exclusive("m/x", b"second")
    assert storage.read_bytes("m/x") == b"first"


def test_one_of_many_racing_writers_wins_and_leaves_nothing_behind(tmp_path):
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


def test_a_stream_publishes_only_when_it_is_closed(tmp_path):
    storage = Storage(str(tmp_path))
    stream = storage.open_write("part")
    stream.write(b"half")
    assert not storage.exists("part")
    stream.close()
    assert storage.read_bytes("part") == b"half"


def test_a_stream_left_by_an_exception_publishes_nothing(tmp_path):

    def write_half() -> None:
        with Storage(str(tmp_path)).open_write("part") as stream:
            stream.write(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_it_is_picklable(storage):
    storage.write_bytes("x", b"1")
    assert pickle.loads(pickle.dumps(storage)).read_bytes("x") == b"1"


def test_transient_errors_are_retried_and_lasting_ones_named(monkeypatch):
    monkeypatch.setattr("pipeline.storage.time.sleep", lambda seconds: None)
    answers = [TimeoutError("slow"), ConnectionResetError("gone"), None]

    def flaky() -> str:
        answer = answers.pop(0)
        if answer:
            raise answer
        return "done"

    assert with_retries(flaky, "reading x") == "done"

    def broken() -> None:
        raise ConnectionResetError("gone")

    with pytest.raises(StorageError, match="reading x: ConnectionResetError"):
        with_retries(broken, "reading x")


@pytest.mark.parametrize("error", [FileNotFoundError, FileExistsError, PermissionError])
def test_errors_that_waiting_does_not_heal_are_raised_at_once(error):
    calls = []

    def fail() -> None:
        calls.append(1)
        raise error("no")

    with pytest.raises(error):
        with_retries(fail, "reading x")
    assert len(calls) == 1


def test_a_full_disk_is_named(tmp_path):
    storage = Storage("/dev/full")
    with pytest.raises(ValueError, match="not writable"):
        storage.check_writable()


def test_options_reach_object_stores_only(tmp_path):
    options = {"key": "secret"}
    assert "secret" not in repr(filesystem_for("https://example.com/x", options)[0].storage_options)
    assert filesystem_for(str(tmp_path), options)[1] == str(tmp_path)
    with pytest.raises(ValueError, match="nope"):
        filesystem_for("nope://x", {})
