"""Memory does not grow with the input: not with its rows, its row groups, its images or its phrases."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.pipeline.samples import picture, png, read_records

pytestmark = pytest.mark.faults

FEW, MANY = 5_000, 50_000
MAX_GROWTH, SLACK_MIB = 1.15, 48  # what allocators and samples differ by
WORKER_CEILING_MIB = 1_500


def run(source: Path, output: Path, model: str, *, timeout_s: float) -> dict[str, float]:
    """Run in a process of its own. Returns its peaks."""
    command = [sys.executable, "-m", "tests.faults.measured_run", str(source), str(output), model]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def write_small(path: Path, count: int) -> Path:
    """A table of `count` small images, a thousand of them different."""
    images = [png(picture(number)) for number in range(1000)]
    with pq.ParquetWriter(
        path, pa.schema({"image_id": pa.string(), "image": pa.binary(), "phrase": pa.string()})
    ) as out:
        for first in range(0, count, 1000):
            ids = [f"image-{first + number:06d}" for number in range(1000)]
            out.write_table(pa.table({"image_id": ids, "image": images, "phrase": ["the red box"] * 1000}))
    return path


def test_memory_is_flat_from_5k_to_50k_records(tmp_path: Path, memory_table: Any) -> None:
    peaks = {}
    for count in (FEW, MANY):
        source = write_small(tmp_path / f"{count}.parquet", count)
        peaks[count] = run(source, tmp_path / f"out-{count}", "fake", timeout_s=1500)
        memory_table.add(case=f"{count:,} records", **peaks[count])
        assert sum(1 for _ in read_records(tmp_path / f"out-{count}")) == count
    for process in ("driver_mib", "worker_mib"):
        assert peaks[MANY][process] <= MAX_GROWTH * peaks[FEW][process] + SLACK_MIB, peaks


def test_a_large_image_with_many_phrases(tmp_path: Path, memory_table: Any) -> None:
    """12 megapixels, 300 phrases, the shipped model."""
    coarse = np.random.default_rng(1).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((4000, 3000), Image.Resampling.NEAREST).save(buffer, "JPEG")
    phrases = [
        f"the {size} {colour} circle number {n}"
        for n in range(30)
        for size in ("small", "large")
        for colour in ("red", "green", "blue", "yellow", "white")
    ]
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"image_id": ["one"], "image": [buffer.getvalue()], "phrases": [phrases]}), source)
    peaks = run(source, tmp_path / "out", "demo", timeout_s=900)
    memory_table.add(case="12 megapixels, 300 phrases", **peaks)
    records = read_records(tmp_path / "out")
    assert len(records) == len(phrases) == 300
    assert {(record["height"], record["width"]) for record in records} == {(3000, 4000)}
    assert all(record["status"] in ("ok", "empty") for record in records)
    assert peaks["worker_mib"] <= WORKER_CEILING_MIB


def test_a_row_group_of_two_gigabytes(tmp_path: Path, memory_table: Any) -> None:
    count, side = 128, 2400
    plain = np.kron(np.random.default_rng(2).integers(0, 255, (8, 8, 3)), np.ones((side // 8, side // 8, 1)))
    source = tmp_path / "in.parquet"
    schema = pa.schema({"image_id": pa.string(), "image": pa.large_binary(), "phrase": pa.string()})
    with pq.ParquetWriter(source, schema, compression="none", use_dictionary=False, write_batch_size=1) as out:
        images = []
        for number in range(count):
            buffer = io.BytesIO()
            Image.fromarray(np.roll(plain.astype(np.uint8), 9 * number, axis=0)).save(buffer, "BMP")  # not compressed
            images.append(buffer.getvalue())
        ids = [f"image-{number:03d}" for number in range(count)]
        out.write_table(pa.table([ids, images, ["the red box"] * count], schema=schema), row_group_size=count)
    assert pq.ParquetFile(source).metadata.row_group(0).total_byte_size >= 2 << 30
    peaks = run(source, tmp_path / "out", "demo", timeout_s=900)
    memory_table.add(case="row group of 2 GiB", **peaks)
    records = read_records(tmp_path / "out")
    assert [record["source_row"] for record in records] == list(range(count))
    assert all(record["status"] in ("ok", "empty") for record in records)
    assert peaks["worker_mib"] <= WORKER_CEILING_MIB
    source.unlink()
