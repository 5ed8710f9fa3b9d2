"""A shard counts once its marker is there, and only the first one counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from litelvlm.pipeline.schemas import SHARD_SCHEMA
from litelvlm.pipeline.shards.markers import ShardMarker, read_data, read_marker
from litelvlm.pipeline.shards.payload import ShardResult, pack, unpack
from litelvlm.pipeline.stages.commit import CommitStage, commit_shard
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.samples import shard_marker
from tests.pipeline.stages.shard_work import SHARD


def record(source_row: int, status: str, **changes: Any) -> dict[str, Any]:
    values = dict.fromkeys(SHARD_SCHEMA.names) | {
        "record": "r", "image_id": "i", "phrase_index": 0, "phrase": "p", "status": status,
        "file_name": f"{source_row}.png", "height": 2, "width": 2,
        "source_file": "f", "source_row": source_row, "image_key": f"k{source_row}",
    }  # fmt: skip
    return values | changes


def result(*records: dict[str, Any]) -> ShardResult:
    return ShardResult(shard=SHARD, records=list(records), seconds={"read": 0.12345678}, facts=shard_marker().facts)


def test_a_marker_counts_what_the_data_file_holds(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    records = [
        record(0, "ok"), record(0, "empty", phrase_index=1), record(1, "failed", error="a", height=None, width=None),
        record(2, "failed", error="b"), record(3, "failed", error="b"),
    ]  # fmt: skip
    marker = commit_shard(storage, result(*records))
    assert (marker.rows, marker.records, marker.ok, marker.empty, marker.failed) == (4, 5, 1, 1, 3)
    assert marker.reasons == {"b": 2, "a": 1}
    assert marker.image_keys == [("k0", "0.png"), ("k2", "2.png"), ("k3", "3.png")]  # of images that were decoded
    assert marker.seconds["read"] == 0.123457
    assert marker.seconds["commit"] > 0
    assert read_marker(storage, "s", ShardMarker) == marker
    assert read_data(storage, marker).to_pylist() == records


def test_images_that_come_back_after_others_are_named_again(tmp_path: Path) -> None:
    keys = [record(at, "ok", image_key=key, file_name=key) for at, key in enumerate("aaba")]
    assert commit_shard(Storage(str(tmp_path)), result(*keys)).image_keys == [("a", "a"), ("b", "b"), ("a", "a")]


def test_whoever_is_second_gets_the_first_ones_marker(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    first = commit_shard(storage, result(record(0, "ok")))
    second = unpack(CommitStage(storage=storage)(pack(result(record(0, "failed", error="a")))))
    assert second == first
    assert len(storage.list("shards")) == 2  # an orphan, which is swept
    assert read_data(storage, second).to_pylist()[0]["status"] == "ok"


def test_only_the_most_frequent_reasons_are_kept(tmp_path: Path) -> None:
    records = [record(at, "failed", error=f"reason {min(at, 8)}") for at in range(20)]
    reasons = commit_shard(Storage(str(tmp_path)), result(*records)).reasons
    assert len(reasons) == 5
    assert reasons["reason 8"] == 12
