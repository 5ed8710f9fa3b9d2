"""Markers: the first counts, and what cannot be read is told by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from litelvlm.pipeline.errors import DataError
from litelvlm.pipeline.schemas import SHARD_SCHEMA, marker_name
from litelvlm.pipeline.shards.markers import Marker, create_marker, find_marker, read_marker, write_data
from litelvlm.pipeline.storage.store import Storage


def test_the_first_marker_counts(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    data = write_data(storage, "s", [], SHARD_SCHEMA)
    first = create_marker(storage, Marker(shard_id="s", index=0, rows=1, failed=0, data=data))
    assert create_marker(storage, Marker(shard_id="s", index=0, rows=2, failed=1, data=data)) == first
    assert read_marker(storage, "s", Marker) == first
    assert find_marker(storage, "t", Marker) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is damaged: it is no JSON"),
        (b"[]", "is damaged: it is no JSON object"),
        (b"{}", "says no version, but this program reads version"),
        (b'{"version": 99}', "says version 99, but this program reads version"),
        (b'{"version": 5, "shard_id": "s", "index": 0, "rows": "many"}', "is damaged: rows: "),
    ],
)
def test_a_marker_that_cannot_be_read_is_told_in_a_line(tmp_path: Path, content: bytes, said: str) -> None:
    storage = Storage(str(tmp_path))
    storage.write_bytes(marker_name("s"), content)
    with pytest.raises(DataError, match=f"_done/s.json {said}") as told:
        find_marker(storage, "s", Marker)
    assert "\n" not in str(told.value)
