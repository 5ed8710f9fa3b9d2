"""Logs hold what was committed; what is done is for `_done` to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from litelvlm.pipeline.schemas import marker_name
from litelvlm.pipeline.shards import marker_log
from litelvlm.pipeline.shards.marker_log import LoggedMarkers, MarkerLog
from litelvlm.pipeline.shards.markers import DataFile, Marker, create_marker, find_markers
from litelvlm.pipeline.storage.store import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def commit(storage: Storage, number: int) -> Marker:
    data = DataFile(name=f"shards/{number}.parquet", sha256="0" * 64, num_bytes=1)
    return create_marker(storage, Marker(shard_id=f"s{number}", index=number, rows=2, failed=0, data=data))


def logs(storage: Storage) -> int:
    return len(storage.list("_log"))


def test_markers_are_written_together_by_number_or_by_time(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marker_log, "_ROWS", 3)
    now = [0.0]
    log = MarkerLog(storage, clock=lambda: now[0])
    log.flush()
    for number in range(4):
        log.add(f"s{number}", b"%d" % number)
    assert logs(storage) == 1
    now[0] = 61.0
    log.add("s4", b"4")
    assert logs(storage) == 2
    log.add("s5", b"5")
    log.flush()
    found = LoggedMarkers(storage)
    assert [found.find(f"s{number}") for number in range(7)] == [b"0", b"1", b"2", b"3", b"4", b"5", None]


def test_two_writers_do_not_meet(storage: Storage) -> None:
    for name in ("a", "b"):
        log = MarkerLog(storage)
        log.add(name, name.encode())
        log.flush()
    assert (LoggedMarkers(storage).find("a"), LoggedMarkers(storage).find("b")) == (b"a", b"b")


def test_listed_markers_come_from_the_logs_and_others_are_looked_up(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    markers, log = [commit(storage, number) for number in range(4)], MarkerLog(storage)
    for marker in markers[:3]:
        log.add(marker.shard_id, marker.to_json())
    log.flush()
    storage.delete([marker_name("s1")])  # by hand, to have it done anew
    read: list[str] = []
    read_bytes = storage.read_bytes

    def noted(name: str) -> bytes:
        read.append(name)
        return read_bytes(name)

    monkeypatch.setattr(storage, "read_bytes", noted)
    found = list(find_markers(storage, ["s0", "s1", "s2", "s3", "s4"], Marker))
    assert found == [markers[0], None, markers[2], markers[3], None]
    assert sorted(name for name in read if name.startswith("_done")) == [marker_name(f"s{n}") for n in (1, 3, 4)]
