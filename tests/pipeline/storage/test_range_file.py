"""Reading by ranges: the same bytes as a file's, in bounded memory, and no other file's bytes among them."""

from __future__ import annotations

import hashlib
import io
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litelvlm.pipeline.errors import StorageError
from litelvlm.pipeline.shards.manifest import make_plan
from litelvlm.pipeline.shards.read import read_shard
from litelvlm.pipeline.storage import range_file
from litelvlm.pipeline.storage.range_file import ChangedError, RangeFile
from litelvlm.pipeline.storage.retries import RetryPolicy
from litelvlm.pipeline.table.footers import footer_of, shard_digest
from tests.conftest import ROOT
from tests.pipeline.samples import mixed_rows, run_config, write_table

HASTY = RetryPolicy(seconds=0.0)


@pytest.mark.parametrize("seed", range(5))
def test_it_reads_as_a_file_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: Any) -> None:
    monkeypatch.setattr(range_file, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(range_file, "_MAX_BLOCKS", 3)
    rng = random.Random(seed)
    path = tmp_path / "data"
    path.write_bytes(rng.randbytes(rng.choice([0, 1, 99, 100, 101, 1234])))
    with RangeFile(str(path), {}, HASTY) as ranges, open(path, "rb") as file:
        for _ in range(200):
            whence = rng.choice([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END])
            offset = rng.randint(0, 300) if whence != io.SEEK_END else -rng.randint(0, ranges.size)
            assert ranges.seek(offset, whence) == file.seek(offset, whence)
            size = rng.choice([-1, 0, 1, 50, 250, 5000])
            assert ranges.read(size) == file.read(size)
            assert ranges.tell() == file.tell()


def test_a_file_that_is_not_there_or_is_a_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(FileNotFoundError):
            RangeFile(str(path), {}, HASTY)


def test_a_file_that_shrinks_while_it_is_read_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_file, "_BLOCK_BYTES", 10)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/shrinking", bytes(100))
    with RangeFile("memory://shrinking", {}, HASTY) as file:
        assert file.read(5) == bytes(5)
        memory.pipe_file("/shrinking", bytes(20))
        file.seek(50)
        with pytest.raises(ChangedError):
            file.read(5)
        with pytest.raises(ChangedError):
            file.check_unchanged()


def test_arrow_hands_on_what_the_file_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A StorageError must come out of Arrow as such, or a broken store would pass for broken data."""
    path = write_table(tmp_path / "in.parquet", mixed_rows(40), row_group_size=40)
    file = RangeFile(path, {}, HASTY)
    parquet = pq.ParquetFile(file, buffer_size=1 << 10, pre_buffer=False)

    def broken(*_: object) -> bytes:
        raise StorageError("the store is gone")

    monkeypatch.setattr(file, "read", broken)
    with pytest.raises(StorageError, match="the store is gone"):
        list(parquet.iter_batches(batch_size=4))


@pytest.mark.slow
@pytest.mark.parametrize("longer_by", [-1, 0, 1])
def test_a_table_rewritten_while_it_is_read_is_not_corrupt_but_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longer_by: Any
) -> None:
    monkeypatch.setattr(range_file, "_BLOCK_BYTES", 10_000)
    path = write_table(tmp_path / "in.parquet", mixed_rows(2000), row_group_size=2000)
    plan = make_plan(run_config(path, tmp_path / "out", shard_images=2000), revision="r")
    rows = read_shard(plan.shards[0], plan.mapping, {}, sample=None, retry=HASTY)
    next(rows)
    size = (tmp_path / "in.parquet").stat().st_size
    (tmp_path / "in.parquet").write_bytes(b"\xff" * (size + longer_by))
    with pytest.raises(ChangedError, match="has changed"):
        list(rows)


def test_the_id_of_a_shard_ends_with_the_digest_of_what_it_is_made_of(tmp_path: Path) -> None:
    path = write_table(tmp_path / "in.parquet", mixed_rows(50))
    plan = make_plan(run_config(path, tmp_path / "out", sample=0.5), revision="r")
    with open(path, "rb") as file:
        footer = footer_of(file)

    digest = hashlib.sha256(footer).hexdigest()
    for shard in plan.shards:
        made_of = (shard.file, digest, shard.row_group, shard.row_start, shard.row_stop, 0.5)
        assert shard.shard_id.endswith(shard_digest(*made_of))


@pytest.mark.slow
def test_a_large_row_group_is_streamed(tmp_path: Path) -> None:
    """400 MB in one row group, read in a process of its own: it needs a fraction of that."""
    path, rows = tmp_path / "large.parquet", 400
    schema = pa.schema([("image_id", pa.string()), ("image", pa.binary()), ("phrases", pa.list_(pa.string()))])
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        blobs = [rng.bytes(1 << 20) for _ in range(rows)]
        names = [str(number) for number in range(rows)]
        table = pa.table({"image_id": names, "image": blobs, "phrases": [["a dog"]] * rows}, schema=schema)
        writer.write_table(table, row_group_size=rows)
    assert pq.ParquetFile(path).num_row_groups == 1
    script = (
        "import resource, sys\n"
        "from litelvlm.pipeline.shards.manifest import make_plan\n"
        "from litelvlm.pipeline.shards.read import read_shard\n"
        "from tests.pipeline.samples import run_config\n"
        "plan = make_plan(run_config(sys.argv[1], sys.argv[2], shard_images=400), revision='r')\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "count = sum(row.error is None for row in read_shard(plan.shards[0], plan.mapping, {}, sample=None))\n"
        "print(count, (peak() - before) // 1024)\n"
    )
    command = [sys.executable, "-c", script, str(path), str(tmp_path / "out")]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    count, grown_mib = map(int, output.split())
    assert count == rows
    assert grown_mib < 150
