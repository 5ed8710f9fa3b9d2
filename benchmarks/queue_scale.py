"""What `review.py queue` takes of time and memory on a large run, finished or not.

    python -m benchmarks.queue_scale                       # 2 million records, about 5 minutes on 2 cores
    python -m benchmarks.queue_scale --records 200000

The run is drawn, not annotated: files in the form that a run leaves, every record with a mask, a score and signals of
its own, 192 to a shard, of 80 classes and 100,000 phrases. One picture stands for all images. Every queue is made by a
process of its own, whose processor time and largest resident set the kernel tells.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.hardware import describe
from benchmarks.scale import FACTS
from litelvlm.pipeline.config import InputConfig, RunConfig
from litelvlm.pipeline.masks import EncodedMask, encode_mask
from litelvlm.pipeline.output.finalize import mark_finished
from litelvlm.pipeline.output.merge import RECORD_PART_BYTES
from litelvlm.pipeline.output.table_writer import TableWriter
from litelvlm.pipeline.schemas import RECORD_SCHEMA, RECORDS_DIR, SHARD_SCHEMA, data_name
from litelvlm.pipeline.shards.claim import claim_output
from litelvlm.pipeline.shards.manifest import RunPlan, Shard, make_plan
from litelvlm.pipeline.shards.marker_log import MarkerLog
from litelvlm.pipeline.shards.markers import DataFile, ShardMarker, create_marker
from litelvlm.pipeline.storage.store import Storage
from tests.pipeline.samples import png

RESULT = Path(__file__).parent / "results" / "queue_scale.json"
REVIEW = Path(__file__).parent.parent / "jobs" / "review.py"
IMAGES, PHRASES = 64, 3  # of a shard, of an image
CLASSES, PROMPTS, MASKS = 80, 100_000, 200
SIZE_HW = (480, 640)
FILE_SHARDS = 1_000  # of an input file
BUDGET = 1_000
FLAGS: dict[str, list[str]] = {
    "by class": ["--strata", "category"],
    "by phrase": ["--strata", "phrase"],
    "a condition": ["--strata", "none", "--where", "score < 0.6 and num_equal = 0 or category = 'class 7'"],
}

# What a command took. Asked by a small process: a child's largest resident set is at least that of who started it.
USED = """
import json, resource, subprocess, sys, time
started = time.monotonic()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
seconds, used = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
rss_mb = used.ru_maxrss * 1024 / 1e6
print(json.dumps({"seconds": seconds, "cpu_s": used.ru_utime + used.ru_stime, "peak_rss_mb": rss_mb}))
"""


def main() -> None:
    """Measure, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    content: dict[str, Any] = {"hardware": describe(), "budget": BUDGET, "queues": []}
    for finished in (True, False):
        with tempfile.TemporaryDirectory(prefix="queue-scale-") as scratch:
            run, num_records = draw_run(Path(scratch), options.records, finished=finished)
            for name, flags in FLAGS.items():
                row = {"records": num_records, "finished": finished, "queue": name}
                row |= queue(run, Path(scratch) / "q.parquet", flags)
                content["queues"].append(row)
                print(json.dumps(row), flush=True)
    options.result.write_text(json.dumps(content, indent=1) + "\n")
    print(options.result)


def queue(run: Path, output: Path, flags: list[str]) -> dict[str, float]:
    """Seconds and memory of a queue's own process."""
    command = [sys.executable, str(REVIEW), "queue", str(run), "--output", str(output), "--budget", str(BUDGET), *flags]
    used = json.loads(subprocess.check_output([sys.executable, "-c", USED, *command]))
    if pq.ParquetFile(output).metadata.num_rows != BUDGET:
        raise RuntimeError("the queue is not as long as was asked for")
    return {name: round(value, 1) for name, value in used.items()}


def draw_run(scratch: Path, num_records: int, *, finished: bool) -> tuple[Path, int]:
    """The output of a run of at least so many records, and how many they are."""
    shards = -(-num_records // (IMAGES * PHRASES))
    config = _config(scratch, shards)
    plan, storage = make_plan(config, revision="fake-1"), Storage(config.output)
    claim_output(storage, plan, config)
    rng = np.random.default_rng(0)
    tables = (_table(rng, shard, _masks(rng)) for shard in plan.shards)
    if finished:
        _write_records(storage, plan, tables)
    else:
        with mock.patch("os.fsync"):  # of what is only to be read
            _commit(storage, plan.shards, tables)
    return Path(config.output), shards * IMAGES * PHRASES


def _config(scratch: Path, num_shards: int) -> RunConfig:
    (scratch / "in").mkdir()
    (scratch / "one.png").write_bytes(png(np.full((*SIZE_HW, 3), 128, np.uint8)))
    schema = pa.schema([("image", pa.string()), ("phrases", pa.list_(pa.string()))])
    rows = pa.table([["one.png"] * IMAGES, [["thing"] * PHRASES] * IMAGES], schema=schema)
    for first in range(0, num_shards, FILE_SHARDS):
        with pq.ParquetWriter(scratch / f"in/{first:07d}.parquet", schema) as writer:
            for _ in range(first, min(first + FILE_SHARDS, num_shards)):
                writer.write_table(rows)
    source = InputConfig(input=(str(scratch / "in"),), image_root=str(scratch), shard_images=IMAGES)
    return RunConfig(source=source, output=str(scratch / "out"))


def _masks(rng: np.random.Generator, made: list[EncodedMask] = []) -> list[EncodedMask]:  # noqa: B006 - made once
    y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    while len(made) < MASKS:
        row, column, radius = rng.integers(50, 430), rng.integers(50, 590), rng.integers(10, 120)
        made.append(encode_mask((y - row) ** 2 + (x - column) ** 2 < radius**2))
    return made


def _table(rng: np.random.Generator, shard: Shard, masks: list[EncodedMask]) -> pa.Table:
    """The records of a shard."""
    count = IMAGES * PHRASES
    image = shard.index * IMAGES + np.arange(count) // PHRASES
    asked, chosen = rng.integers(PROMPTS, size=count), rng.integers(MASKS, size=count)
    values: dict[str, Any] = {
        "record": [f"{one:016x}-{place % PHRASES}" for place, one in enumerate(image.tolist())],
        "image_id": [str(one) for one in image.tolist()],
        "phrase_index": np.arange(count) % PHRASES,
        "phrase": [f"the thing of kind {one}" for one in asked.tolist()],
        "category_id": asked % CLASSES + 1,
        "category": [f"class {one}" for one in (asked % CLASSES).tolist()],
        "status": ["ok"] * count,
        "file_name": [f"{one // 1000}/{one}.png" for one in image.tolist()],
        "image_uri": [f"/data/images/{one // 1000}/{one}.png" for one in image.tolist()],
        "height": [SIZE_HW[0]] * count,
        "width": [SIZE_HW[1]] * count,
        "mask_rle": [masks[one].counts for one in chosen],
        "bbox_xywh": [list(masks[one].bbox_xywh) for one in chosen],
        "area": [masks[one].area for one in chosen],
        "score": rng.random(count),
        "num_visual_tokens": [576] * count,
        "num_retained_tokens": [192] * count,
        "source_file": [shard.file] * count,
        "source_row": shard.row_start + np.arange(count) // PHRASES,
        "overlap": rng.random(count),
        "num_equal": rng.integers(2, size=count),
        "components": rng.integers(1, 5, size=count),
        "holes": rng.integers(3, size=count),
        "area_share": rng.random(count),
        "borders": rng.integers(5, size=count),
        "image_hash": [hashlib.blake2b(str(one).encode(), digest_size=8).hexdigest() for one in image.tolist()],
        "image_key": [f"{one:016x}" for one in image.tolist()],
    }
    nothing = [None] * count
    return pa.table(
        [pa.array(values.get(field.name, nothing), field.type) for field in SHARD_SCHEMA], schema=SHARD_SCHEMA
    )


def _write_records(storage: Storage, plan: RunPlan, tables: Iterator[pa.Table]) -> None:
    part = 0
    while first := next(tables, None):
        writer = TableWriter(storage, f"{RECORDS_DIR}/part-{part:05d}.parquet", RECORD_SCHEMA)
        for table in (first, *islice(tables, RECORD_PART_BYTES // first.nbytes)):
            writer.add_table(table.select(RECORD_SCHEMA.names))
        writer.close()
        part += 1
    mark_finished(storage, plan, records=len(plan.shards) * IMAGES * PHRASES)


def _commit(storage: Storage, shards: tuple[Shard, ...], tables: Iterator[pa.Table]) -> None:
    log = MarkerLog(storage)
    for shard, table in zip(shards, tables, strict=True):
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        data = buffer.getvalue()
        name = data_name(shard.shard_id, "0" * 16)
        storage.write_bytes(name, data)
        marker = ShardMarker(
            shard_id=shard.shard_id, index=shard.index, rows=shard.num_rows, records=table.num_rows, ok=table.num_rows,
            empty=0, failed=0, dropped=0, reasons={}, facts=FACTS, seconds={"annotate": 1.0}, image_keys=[],
            data=DataFile(name=name, sha256=hashlib.sha256(data).hexdigest(), num_bytes=len(data)),
        )  # fmt: skip
        log.add(shard.shard_id, create_marker(storage, marker).to_json())
    log.flush()


if __name__ == "__main__":
    main()
