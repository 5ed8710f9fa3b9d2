"""Storage and whole runs against a real S3 server process."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.errors import UsageError
from litelvlm.pipeline.exit_codes import EXIT_DONE
from litelvlm.pipeline.run import annotate_dataset
from litelvlm.pipeline.storage.store import Storage
from tests.fakes import FakeEngine
from tests.object_store import ACCESS_KEY, SECRET_KEY, ObjectStore, object_store
from tests.pipeline.samples import mixed_rows, read_records, run_config, write_table


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with object_store() as running:
        running.filesystem().mkdir("bucket")
        yield running


@pytest.mark.slow
def test_one_of_many_racing_writers_wins(store: ObjectStore) -> None:
    start = threading.Barrier(8)
    outcomes = []

    def race(number: int) -> None:
        storage = Storage("s3://bucket/race", store.options)
        start.wait()
        outcomes.append((storage.create_exclusive("_done/x.json", b"%d" % number), number))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for won, number in outcomes if won]
    assert len(winners) == 1
    assert Storage("s3://bucket/race", store.options).read_bytes("_done/x.json") == b"%d" % winners[0]


@pytest.mark.slow
def test_objects_are_written_listed_streamed_and_deleted(store: ObjectStore) -> None:
    storage = Storage("s3://bucket/objects", store.options)
    storage.write_bytes("a/one", b"1")
    with storage.open_write("a/two") as stream:
        stream.write(b"2" * 100)
    assert storage.list("a") == ["a/one", "a/two"]
    assert storage.read_bytes("a/two") == b"2" * 100
    storage.delete(["a/one", "a/none"])
    assert storage.list("a") == ["a/two"]
    assert not storage.exists("a/one")
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("a/one")


@pytest.mark.usefixtures("local_ray")
def test_a_run_from_bucket_to_bucket_equals_one_on_disk(store: ObjectStore, tmp_path: Path) -> None:
    rows = mixed_rows(30)
    source = write_table(tmp_path / "in.parquet", rows)
    fs = store.filesystem()
    fs.put(source, "bucket/in/in.parquet")
    config = run_config("s3://bucket/in/*.parquet", "s3://bucket/out", storage_options=store.options)
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    local = run_config(source, tmp_path / "out")
    assert annotate_dataset(local, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    fs.get("bucket/out", str(tmp_path / "copy"), recursive=True)
    copied = [record | {"source_file": source} for record in read_records(tmp_path / "copy")]
    assert copied == read_records(tmp_path / "out")
    coco = "annotations/part-00000.json"
    assert (tmp_path / "copy" / coco).read_bytes() == (tmp_path / "out" / coco).read_bytes()
    for path in (tmp_path / "copy").rglob("*.json"):
        assert SECRET_KEY not in path.read_text()
        assert ACCESS_KEY not in path.read_text()
    stream = io.StringIO()
    assert annotate_dataset(config, engine=FakeEngine(), stream=stream) == EXIT_DONE
    assert "nothing to do" in stream.getvalue()


@pytest.mark.usefixtures("local_ray")
def test_images_are_fetched_by_uri_from_the_tables_bucket_only(store: ObjectStore, tmp_path: Path) -> None:
    fs = store.filesystem()
    rows = mixed_rows(6)
    uris = [f"s3://bucket/images/sub/{number}.png" for number in range(6)]
    for uri, given in zip(uris, rows, strict=True):
        fs.pipe_file(uri, given["image"])
    (tmp_path / "local.png").write_bytes(rows[0]["image"])
    uris += [
        "s3://bucket/images/none.png",
        "s3://other/x.png",
        f"file://{tmp_path}/local.png",
        "http://169.254.169.254/x",
    ]
    table = pa.table({"image_url": uris, "phrase": ["a dog"] * len(uris)})
    pq.write_table(table, tmp_path / "uris.parquet")
    fs.put(str(tmp_path / "uris.parquet"), "bucket/uris/in.parquet")
    config = run_config("s3://bucket/uris", "s3://bucket/out-uris", storage_options=store.options)
    assert annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO()) == EXIT_DONE
    fs.get("bucket/out-uris", str(tmp_path / "copy"), recursive=True)
    records = read_records(tmp_path / "copy")
    assert [record["status"] for record in records] == ["ok"] * 3 + ["failed"] + ["ok"] * 2 + ["failed"] * 4
    assert [record["error"].split(":")[0] for record in records[6:]] == ["not_found", "refused", "refused", "refused"]
    coco = json.loads((tmp_path / "copy/annotations/part-00000.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == [f"images/sub/{n}.png" for n in (0, 1, 2, 4, 5)]


@pytest.mark.parametrize("source", ["s3://bucket/nothing-here/*.parquet", "s3://no-such-bucket/in"])
def test_input_that_is_not_there_is_bad_usage(store: ObjectStore, source: str) -> None:
    config = run_config(source, "s3://bucket/out-none", storage_options=store.options)
    with pytest.raises(UsageError, match="--input"):
        annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO())


def test_an_output_bucket_that_is_not_there_is_bad_usage(store: ObjectStore, tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.parquet", mixed_rows(2))
    config = run_config(source, "s3://no-such-bucket/out", storage_options=store.options)
    with pytest.raises(UsageError, match="output"):
        annotate_dataset(config, engine=FakeEngine(), stream=io.StringIO())
